// Sets the colours before anything is drawn: a classic script, so that the page does not flash.
"use strict";
(function () {
  try {
    const chosen = localStorage.getItem("milvane-theme");
    if (chosen === "light" || chosen === "dark") {
      document.documentElement.dataset.theme = chosen;
    }
  } catch {
    // Storage is off: the system's colours it is.
  }
})();
