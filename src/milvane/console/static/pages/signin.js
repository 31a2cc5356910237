// Signing in.

import { signIn } from "../api.js";
import { h } from "../dom.js";
import { explain, field } from "../parts.js";
import { t } from "../words.js";

export function showSignIn(begun) {
  document.title = `${t("signin")} · Milvane`;
  const name = h("input", { name: "name", autocomplete: "username", required: true, value: "admin" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const problem = h("p.problem", { role: "alert" });
  const go = h("button.button.primary", { type: "submit" }, t("signin"));
  const form = h(
    "form.form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        go.disabled = true;
        problem.textContent = "";
        try {
          await begun(await signIn(name.value, password.value));
        } catch (failure) {
          problem.textContent = failure.status === 401 ? t("signin.wrong") : explain(failure);
          go.disabled = false;
          password.select();
        }
      },
    },
    field(t("signin.name"), name),
    field(t("signin.password"), password, t("signin.hint")),
    problem,
    go,
  );
  return h("section.card.signin", {}, h("h1", {}, t("signin.title")), h("p.intro", {}, t("signin.intro")), form);
}
