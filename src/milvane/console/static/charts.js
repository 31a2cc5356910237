// Draws curves with the library that this server hands out, and only once somebody looks at some.

import { h } from "./dom.js";
import { t } from "./words.js";

const LIBRARY = "/console/library/plotly.min.js";
let loading = null;

/** Load the chart library; it is five megabytes, so only pages with charts ask for it. */
export function loadCharts() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", {
      src: LIBRARY,
      onload: () => resolve(window.Plotly),
      onerror: () => {
        loading = null;
        reject(new Error(t("charts.missing")));
      },
    });
    document.head.append(script);
  });
  return loading;
}

/** Write a moment without its zone, as the clock on the wall shows it: the library knows no zones. */
export function onTheWall(text) {
  const at = new Date(text);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

const DAY_MS = 86_400_000;
const TICKS = [
  { dtickrange: [null, 59_999], value: "%H:%M:%S\n%Y-%m-%d" },
  { dtickrange: [60_000, DAY_MS - 1], value: "%H:%M\n%Y-%m-%d" },
  { dtickrange: [DAY_MS, null], value: "%m-%d\n%Y" },
];

const COLOURS = 6;

function palette() {
  const styles = getComputedStyle(document.documentElement);
  const read = (name) => styles.getPropertyValue(name).trim();
  return {
    series: Array.from({ length: COLOURS }, (_, place) => read(`--chart-${place + 1}`)),
    text: read("--quiet"),
    line: read("--line"),
    surface: read("--surface"),
  };
}

/**
 * Make the library's traces of curves.
 *
 * A series is { name, times, values, dash? }. A gap stays one: no line leads over a step without a
 * value, and a value between two gaps, which no line can show, gets a dot.
 */
export function traces(series, colours, { area = false } = {}) {
  const made = [];
  series.forEach((each, place) => {
    const times = each.times.map(onTheWall);
    const colour = colours[(each.colour ?? place) % colours.length];
    made.push({
      x: times, y: each.values, name: each.name, type: "scatter", mode: "lines", connectgaps: false,
      line: { color: colour, width: 1.8, dash: each.dash ?? "solid", simplify: true },
      ...(area && series.length === 1 ? { fill: "tozeroy", fillcolor: `${colour}26` } : {}),
      hovertemplate: "%{y}<extra>%{fullData.name}</extra>",
    });
    const alone = isolated(each.values);
    if (alone.length) {
      made.push({
        x: alone.map((at) => times[at]), y: alone.map((at) => each.values[at]),
        type: "scatter", mode: "markers", marker: { color: colour, size: 5 }, showlegend: false, hoverinfo: "skip",
      });
    }
  });
  return made;
}

/** Find the values that have none beside them. */
export function isolated(values) {
  const found = [];
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] === null) continue;
    if ((values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) found.push(at);
  }
  return found;
}

/** Draw a chart into an element, or draw it anew. */
export async function draw(element, series, { unit = "", format = "", area = false, range = null, since, until }) {
  const plotly = await loadCharts();
  const colours = palette();
  const axis = { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, tickfont: { color: colours.text, size: 11 } };
  const layout = {
    margin: { l: 56, r: 12, t: 8, b: 36 },
    height: 260,
    paper_bgcolor: colours.surface,
    plot_bgcolor: colours.surface,
    font: { family: getComputedStyle(document.body).fontFamily, color: colours.text, size: 12 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text } },
    showlegend: series.length > 1,
    legend: { orientation: "h", y: -0.2, x: 0, font: { color: colours.text } },
    xaxis: {
      ...axis, type: "date", showgrid: false, range: [onTheWall(since), onTheWall(until)],
      tickformatstops: TICKS, hoverformat: "%Y-%m-%d %H:%M:%S",
    },
    yaxis: { ...axis, rangemode: "tozero", tickformat: format, ticksuffix: unit, ...(range ? { range } : {}) },
  };
  await plotly.react(element, traces(series, colours.series, { area }), layout, {
    displayModeBar: false, responsive: true, locale: "en-US",
  });
}

export function release(element) {
  window.Plotly?.purge(element);
}
