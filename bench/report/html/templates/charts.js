"use strict";
// Scatter plots and learning curves as SVG, drawn at the width they are shown at.
const Charts = (() => {
  let clips = 0;
  const NS = "http://www.w3.org/2000/svg";
  const tip = () => document.getElementById("tip");
  const short = (v) => (v === null || v === undefined ? "n/a" : Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3)
    ? v.toExponential(1).replace("e+", "e").replace(".0e", "e") : String(Number(v.toPrecision(3))));

  // Ticks in digits or words, as people read them.
  function plain(v) {
    const size = Math.abs(v);
    for (const [unit, word] of [[1e9, "billion"], [1e6, "million"]]) if (size >= unit && size < 1000 * unit) return `${Number((v / unit).toPrecision(3))} ${word}`;
    return v === 0 || (size >= 0.99e-4 && size < 1e6) ? Number(v.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 7 }) : short(v);
  }

  function make(parent, name, attributes, text) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  function scale(values, from, to, top) {
    const known = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v));
    let low = Math.min(...known), high = Math.max(...known);
    const log = low > 0;
    if (top !== undefined) high = Math.max(Math.min(high, top), low * 1.5);
    if (log) { const pad = Math.max((high / low) ** 0.05, 1.06); low /= pad; high *= pad; }
    else { const pad = (high - low || 1) * 0.06; low -= pad; high += pad; }
    const t = log ? Math.log10 : (v) => v;
    const beyond = (v) => from + (to - from) * (log && v <= 0 ? -1 : (t(v) - t(low)) / (t(high) - t(low)));
    const at = (v) => Math.min(Math.max(beyond(v), Math.min(from, to)), Math.max(from, to));
    return { at, beyond, ticks: log ? logTicks(low, high) : linearTicks(low, high) };
  }

  function logTicks(low, high) {
    const span = Math.log10(high / low);
    const within = span > 4 ? [1] : span > 1.6 ? [1, 3] : [1, 2, 5];
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += span > 9 ? 2 : 1)
      for (const m of within) { const v = m * 10 ** e; if (v >= low && v <= high) found.push(v); }
    return found.length > 1 ? found : linearTicks(low, high);
  }

  function linearTicks(low, high) {
    const rough = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough);
    const found = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) found.push(v);
    return found;
  }

  function panel(host, width, height, title, xs, ys, xLabel, yLabel, { top, margin = 14 } = {}) {
    const box = document.createElement("div");
    box.className = "panel";
    host.appendChild(box);
    const svg = make(box, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${yLabel} against ${xLabel}` });
    const [left, right, up, down] = [52, width - margin, 30, height - 42];
    make(svg, "text", { x: left, y: 16, class: "title" }, title);
    const x = scale(xs, left, right), y = scale(ys, down, up, top);
    let last = -99;
    for (const v of x.ticks) {
      make(svg, "line", { x1: x.at(v), x2: x.at(v), y1: up, y2: down, class: "grid" });
      if (x.at(v) - last > 42) { make(svg, "text", { x: x.at(v), y: down + 16, "text-anchor": "middle" }, plain(v)); last = x.at(v); }
    }
    for (const v of y.ticks) {
      make(svg, "line", { x1: left, x2: right, y1: y.at(v), y2: y.at(v), class: "grid" });
      make(svg, "text", { x: left - 6, y: y.at(v) + 4, "text-anchor": "end" }, plain(v));
    }
    make(svg, "path", { d: `M${left},${up}V${down}H${right}`, class: "axis" });
    make(svg, "text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel);
    make(svg, "text", { x: 0, y: 0, transform: `translate(11 ${(up + down) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel);
    const clip = `clip${++clips}`;
    make(make(svg, "clipPath", { id: clip }), "rect", { x: left, y: up, width: right - left, height: down - up });
    return { svg, x: x.at, y: y.at, beyond: y.beyond, inside: make(svg, "g", { "clip-path": `url(#${clip})` }), left, right, up, down };
  }

  // The free place nearest to (x, y), on rings of growing radius around it.
  function nearest(x, y, free) {
    for (let radius = 0; radius < 200; radius += 3)
      for (let k = 0, n = Math.max(1, radius); k < n; k++) {
        const place = [x + radius * Math.cos((2 * Math.PI * k) / n), y + radius * Math.sin((2 * Math.PI * k) / n)];
        if (free(...place)) return place;
      }
    return [x, y];
  }

  const touch = ([l, t, r, d], [a, b, c, e]) => l < c && r > a && t < e && d > b;

  function hint(event, title, lines) {
    const box = tip();
    box.textContent = "";
    const strong = document.createElement("b");
    strong.textContent = title;
    box.appendChild(strong);
    for (const line of lines) { const span = document.createElement("span"); span.textContent = line; box.appendChild(span); }
    box.hidden = false;
    const at = event.clientX === undefined || event.type === "focus" ? event.target.getBoundingClientRect() : { left: event.clientX, top: event.clientY };
    const wide = box.offsetWidth, tall = box.offsetHeight;
    box.style.left = `${Math.max(6, Math.min(at.left + 14, innerWidth - wide - 8))}px`;
    box.style.top = `${at.top + 18 + tall > innerHeight ? Math.max(6, at.top - tall - 12) : at.top + 18}px`;
  }

  function alive(node, chart, number, title, lines) {
    const entry = chart.entry(number);
    const on = (event) => { chart.heat(number, true); hint(event, title, lines); };
    const off = () => { chart.heat(number, false); tip().hidden = true; };
    node.dataset.number = number;
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "link");
    node.setAttribute("aria-label", `${title}: ${lines.join("; ")}`);
    for (const name of ["mouseenter", "mousemove", "focus"]) node.addEventListener(name, on);
    for (const name of ["mouseleave", "blur"]) node.addEventListener(name, off);
    const go = () => { off(); location.hash = entry.id; };
    node.addEventListener("click", go);
    node.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  }

  const labelled = (axis) => `${axis.label}${axis.unit ? `, ${axis.unit}` : ""}`;

  function front(points, lowerX, lowerY) {
    const sorted = [...points].sort((a, b) => (lowerX ? a.x - b.x : b.x - a.x) || (lowerY ? a.y - b.y : b.y - a.y));
    const kept = [];
    for (const p of sorted) if (!kept.length || (lowerY ? p.y < kept[kept.length - 1].y : p.y > kept[kept.length - 1].y)) kept.push(p);
    return kept;
  }

  function scatter(chart, host, dataset, across, up, width) {
    const data = chart.data, xKey = across, yKey = up || dataset.primary;
    const xAxis = data.axes[xKey], yAxis = data.axes[yKey];
    if (!xAxis || !yAxis) return;
    const points = data.points[dataset.id].filter((p) => chart.shows(p.number)).map((p) => ({ p, e: chart.entry(p.number),
      vx: p.values[xKey], vy: p.values[yKey], x: p.values[xKey].at, y: p.values[yKey].at })).filter((q) => q.x !== null && q.y !== null && q.x !== undefined && q.y !== undefined);
    if (!points.length) return;
    const xs = points.flatMap((q) => [q.x, ...q.vx.seeds]), ys = points.flatMap((q) => [q.y, ...q.vy.seeds]);
    const height = Math.round(Math.min(Math.max(width * 0.68, 300), 620));
    const f = panel(host, width, height, dataset.name, xs, ys, labelled(xAxis), labelled(yAxis));
    const best = front(points.filter((q) => !q.e.control && !q.vy.uncertified), xAxis.better === "lower", yAxis.better === "lower");
    const path = best.map((q, i) => (i ? `H${f.x(q.x)}V${f.y(q.y)}` : `M${f.x(q.x)},${f.y(q.y)}`)).join("");
    make(f.svg, "path", { d: path, class: "front" });
    // Exact dots first: badges and names keep clear of them, of the front and of each other.
    const at = points.map((q) => [f.x(q.x), f.y(q.y)]);
    const lines = best.slice(1).flatMap((q, i) => {
      const [x0, y0, x1, y1] = [f.x(best[i].x), f.y(best[i].y), f.x(q.x), f.y(q.y)];
      return [[Math.min(x0, x1), y0 - 1, Math.max(x0, x1), y0 + 1], [x1 - 1, Math.min(y0, y1), x1 + 1, Math.max(y0, y1)]];
    });
    const badges = [], traces = make(f.svg, "g", {});
    for (const q of [...best, ...points.filter((q) => !best.includes(q))]) {
      const colour = `var(--${q.e.colour})`, [cx, cy] = at[points.indexOf(q)];
      const look = q.vy.uncertified || q.e.control ? 0.55 : 1, g = make(f.svg, "g", { class: "mark", opacity: look });
      const trace = make(traces, "g", { class: "trace", opacity: look, "data-number": q.p.number });
      q.vy.seeds.forEach((v, i) => {
        if (v !== null && q.vx.seeds[i] !== null) make(trace, "circle", { cx: f.x(q.vx.seeds[i]), cy: f.y(v), r: 2.4, fill: colour, class: "seed" });
      });
      if (q.vy.low !== null && q.vy.low !== undefined) make(trace, "line", { x1: cx, x2: cx, y1: f.y(q.vy.low), y2: f.y(q.vy.high), stroke: colour, class: "bar-of" });
      if (q.vx.low !== null && q.vx.low !== undefined) make(trace, "line", { y1: cy, y2: cy, x1: f.x(q.vx.low), x2: f.x(q.vx.high), stroke: colour, class: "bar-of" });
      const [bx, by] = nearest(cx, cy, (x, y) => x > f.left + 8 && x < f.right - 8 && y > f.up + 8 && y < f.down - 8 &&
        badges.every(([u, v]) => Math.hypot(u - x, v - y) > 17.5) && at.every(([u, v]) => (u === cx && v === cy) || Math.hypot(u - x, v - y) > 12));
      badges.push([bx, by]);
      if (bx !== cx || by !== cy) {
        make(g, "line", { x1: cx, y1: cy, x2: bx, y2: by, stroke: colour, class: "lead" });
        make(g, "circle", { cx, cy, r: 3.2, fill: colour, class: "exact" });
      }
      make(g, "circle", { cx: bx, cy: by, r: 8, fill: colour, class: "disc" });
      make(g, "text", { x: bx, y: by + 0.5 }, q.p.number);
      q.badge = [bx, by];
      const said = (axis, v) => `${axis.label}: ${short(v.at)}${v.low !== null && v.low !== undefined ? ` (${short(v.low)} to ${short(v.high)})` : ""} ${axis.unit}`.trim();
      const n = q.vy.n;
      alive(g, chart, q.p.number, q.e.name, [said(yAxis, q.vy), said(xAxis, q.vx), `${n} seed${n === 1 ? "" : "s"}`,
        ...(q.vy.uncertified ? ["not certified"] : []), ...(q.e.control ? ["control: not ranked"] : [])]);
    }
    const taken = [...badges.map(([x, y]) => [x - 9, y - 9, x + 9, y + 9]), ...at.map(([x, y]) => [x - 4, y - 4, x + 4, y + 4]), ...lines];
    const labels = make(f.svg, "g", {});
    // a narrow panel has no room for more names than those of the front; the list below has them all
    for (const q of width > 420 ? [...best, ...points.filter((q) => !best.includes(q))] : best) {
      const text = make(labels, "text", { class: "name" }, q.e.name), wide = text.getComputedTextLength(), [x, y] = q.badge;
      const places = [[x + 12, y + 4], [x - 12 - wide, y + 4], [x + 8, y + 19], [x + 8, y - 11], [x - wide - 8, y + 19], [x - wide - 8, y - 11], [x - wide / 2, y + 22], [x - wide / 2, y - 13]];
      const box = ([a, b]) => [a - 2, b - 11, a + wide + 2, b + 4];
      const place = places.find(([a, b]) => a > f.left && a + wide < f.right && b > f.up + 8 && b < f.down - 2 && !taken.some((other) => touch(box([a, b]), other)));
      if (!place) { text.remove(); continue; }
      taken.push(box(place));
      text.setAttribute("x", place[0]);
      text.setAttribute("y", place[1]);
    }
  }

  // Bands too, or the best seed would lie below its panel; a band that touches zero has no place on a logarithmic axis.
  function within(curves) {
    const middle = curves.flatMap((c) => c.middle), low = curves.flatMap((c) => c.low);
    return [...middle, ...(Math.min(...middle) > 0 ? low.filter((v) => v > 0) : low)];
  }

  function curves(chart, host, dataset, along, width, only) {
    const all = chart.data.curves[dataset.id].filter((c) => c.x[along] && (only ? true : chart.shows(c.number)));
    if (!all.length || (only && !all.some((c) => c.number === only))) return;
    const measure = all[0].measure, same = all.filter((c) => c.measure === measure);
    const height = Math.round(Math.min(Math.max(width * 0.62, 240), 560));
    const f = panel(host, width, height, dataset.name, same.flatMap((c) => c.x[along]), within(same), chart.data.along[along], measure, { top: chart.data.top, margin: only ? 14 : 52 });
    const line = (c, values) => values.map((v, i) => `${i ? "L" : "M"}${f.x(c.x[along][i]).toFixed(1)},${f.beyond(v).toFixed(1)}`).join("");
    for (const c of same) {
      const e = chart.entry(c.number), faded = only && c.number !== only;
      if (faded) { make(f.inside, "path", { d: line(c, c.middle), class: "back" }); continue; }
      const g = make(f.inside, "g", {});
      const back = c.high.map((v, i) => `L${f.x(c.x[along][i]).toFixed(1)},${f.beyond(v).toFixed(1)}`).reverse().join("");
      const band = make(g, "path", { d: `${line(c, c.low)}${back}Z`, fill: `var(--${e.colour})`, class: "band" });
      if (!only) band.style.display = "none";
      const path = make(g, "path", { d: line(c, c.middle), stroke: `var(--${e.colour})`, class: "line" });
      const end = c.middle.length - 1;
      alive(path, chart, c.number, e.name, [`at the end ${short(c.middle[end])} (${short(c.low[end])} to ${short(c.high[end])})`]);
      if (!only) for (const [name, show] of [["mouseenter", ""], ["focus", ""], ["mouseleave", "none"], ["blur", "none"]]) path.addEventListener(name, () => { band.style.display = show; });
    }
    if (!only) tags(chart, f, same.map((c) => ({ number: c.number, x: f.x(c.x[along].at(-1)), y: f.beyond(c.middle.at(-1)) })));
  }

  // Where each line ends stands its number, moved up or down until none covers another; two columns share the height.
  function tags(chart, f, ends) {
    const shown = ends.filter((e) => e.y >= f.up && e.y <= f.down).sort((a, b) => a.y - b.y);
    const step = Math.min(12, (f.down - f.up) / Math.max(1, shown.length - 1));
    shown.forEach((e, i) => { e.at = Math.max(e.y, i ? shown[i - 1].at + step : f.up); });
    for (let i = shown.length - 1, floor = f.down; i >= 0; floor = shown[i].at - step, i--) shown[i].at = Math.min(shown[i].at, floor);
    shown.forEach((e, i) => {
      const entry = chart.entry(e.number), x = f.right + (i % 2 ? 28 : 12), colour = `var(--${entry.colour})`;
      const g = make(f.svg, "g", { class: "tag" });
      make(g, "line", { x1: e.x, y1: e.y, x2: x - 1, y2: e.at, stroke: colour, class: "lead" });
      make(g, "text", { x, y: e.at + 3.5, fill: colour, style: `fill: ${colour}` }, e.number);
      g.dataset.number = e.number;
      g.addEventListener("mouseenter", () => chart.heat(e.number, true));
      g.addEventListener("mouseleave", () => chart.heat(e.number, false));
    });
  }

  // What is seen as a file: colours are resolved, and the caption says which command and commit made the numbers.
  function save(figure, caption, name) {
    const styles = getComputedStyle(document.documentElement);
    const drawn = [...figure.querySelectorAll(".panel svg")];
    const sheet = document.createElementNS(NS, "svg");
    let y = 0, width = 0;
    for (const svg of drawn) {
      const [, , w, h] = svg.getAttribute("viewBox").split(" ").map(Number);
      const copy = svg.cloneNode(true);
      for (const [k, v] of Object.entries({ x: 0, y, width: w, height: h })) copy.setAttribute(k, v);
      sheet.appendChild(copy);
      y += h + 12; width = Math.max(width, w);
    }
    make(sheet, "text", { x: 4, y: y + 8 }, caption);
    sheet.setAttribute("viewBox", `0 0 ${Math.max(width, caption.length * 6)} ${y + 20}`);
    sheet.setAttribute("xmlns", NS);
    const rules = [...document.styleSheets[0].cssRules].map((r) => r.cssText).filter((r) => r.startsWith("svg")).join("\n");
    make(sheet, "style", {}, rules.replaceAll("svg ", "").replaceAll("svg.", "."));
    const text = new XMLSerializer().serializeToString(sheet).replace(/var\((--[a-z0-9-]+)\)/g, (_, key) => styles.getPropertyValue(key).trim());
    const link = document.createElement("a");
    link.download = `${name}.svg`;
    link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    link.click();
  }

  return { scatter, curves, save };
})();
