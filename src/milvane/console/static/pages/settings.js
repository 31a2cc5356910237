// Settings in force, health, and one's own password.

import { get, put } from "../api.js";
import { h } from "../dom.js";
import { badge, button, card, dialog, field, pageHead, table } from "../parts.js";
import { moment, t } from "../words.js";

export async function show(view, context) {
  const [server, { settings }] = await Promise.all([get("/server"), get("/settings")]);
  view.append(
    pageHead(t("settings.title"), t("settings.intro"), button(t("password.change"), () => changePassword(context))),
    h("div.columns", {},
      card(t("settings.health"),
        h("p", {}, server.is_ready ? badge(t("overview.ready"), "good") : badge(t("overview.unready"), "bad")),
        server.reasons.map((reason) => h("p.problem", {}, reason)),
        h("dl.facts", {}, [
          [t("settings.version"), server.version],
          [t("settings.python"), server.python],
          [t("settings.started"), moment(server.started_at)],
          [t("settings.region"), server.region],
          ...Object.entries(server.instance_ports).map(([name, port]) => [t("settings.port_of", { name }), String(port)]),
        ].flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
      card(t("settings.places"), h("ul", {},
        h("li", {}, h("a", { href: "/docs" }, t("settings.docs"))),
        h("li", {}, h("a", { href: "/openapi.json" }, t("settings.openapi"))),
        h("li", {}, h("a", { href: "/metrics" }, t("settings.metrics"))),
        h("li", {}, h("a", { href: "/health/ready" }, t("settings.ready")))),
        h("p.sub", {}, t("settings.places_note"))),
    ),
    card(t("settings.effective"), finder(settings)),
  );
}

function finder(settings) {
  const place = h("div", {});
  const draw = (part) => place.replaceChildren(table(t("settings.effective"), [
    { title: t("settings.key"), cell: (each) => h("span.code", {}, each.key) },
    { title: t("settings.value"), cell: (each) => h("span.code", {}, each.value) },
    { title: t("settings.default"), cell: (each) => each.is_default ? badge(t("settings.is_default")) : badge(t("settings.set"), "accent") },
  ], settings.filter((each) => each.key.includes(part.toLowerCase()))));
  draw("");
  const search = h("input", { type: "search", oninput: (event) => draw(event.target.value) });
  return h("div.form", {}, field(t("settings.find"), search), place);
}

function changePassword(context) {
  const password = h("input", { type: "password", required: true, minlength: "8", autocomplete: "new-password" });
  const again = h("input", { type: "password", required: true, autocomplete: "new-password" });
  dialog(t("password.change"), h("div.form", {}, h("p", {}, t("password.text")), field(t("password.new"), password), field(t("password.again"), again)), {
    confirm: t("password.change"),
    submit: async () => {
      if (password.value !== again.value) throw new Error(t("password.differ"));
      await put("/session/password", { password: password.value });
      await context.drop();
    },
  });
}
