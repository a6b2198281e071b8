// Theme, sorting, filtering, links into folded sections; the charts follow the filters.
(() => {
  const root = document.documentElement;
  const remember = (value) => { try { localStorage.setItem("theme", value); } catch { /* a page from a file may have no memory */ } };
  const recall = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  root.dataset.theme = recall() || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    remember(root.dataset.theme);
  });

  // Sorting: numbers by value, words by the alphabet, what has no number last in both directions.
  const key = (cell) => (cell === undefined ? "" : cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent.trim());
  function sort(head) {
    const table = head.closest("table"), body = table.tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.querySelectorAll("thead th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => { const k = key(row.cells[column]); return { row, k, n: k === "" ? NaN : Number(k) }; });
    const numeric = rows.filter((r) => !Number.isNaN(r.n)).length > rows.length / 2 || head.classList.contains("num");
    const absent = (r) => (numeric ? Number.isNaN(r.n) : r.k === "");
    rows.sort((a, b) => absent(a) - absent(b) || (absent(a) ? 0 : direction * (numeric ? a.n - b.n : a.k.localeCompare(b.k))));
    const sorted = document.createDocumentFragment();
    for (const { row } of rows) sorted.appendChild(row);
    body.appendChild(sorted);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.sort");
    if (button) sort(button.closest("th"));
  });

  // Filtering: a bar of fields rules the section it stands in.
  function chosen(bar) {
    const found = {};
    for (const field of bar.querySelectorAll("[data-filter]")) if (field.value) found[field.dataset.filter] = field.value.toLowerCase();
    return found;
  }
  function filter(bar) {
    const section = bar.closest("section"), wanted = chosen(bar), table = section.querySelector("table.data");
    const board = section.classList.contains("board");
    const passes = (node, text) => Object.entries(wanted).every(([name, value]) =>
      name === "*" ? text.toLowerCase().includes(value) : board && name === "dataset" ? true : (node.dataset[name] || "").toLowerCase() === value);
    const numbers = new Set();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !passes(row, row.textContent);
      shown += !row.hidden;
      if (!row.hidden) numbers.add(row.dataset.number);
    }
    bar.querySelector(".count").textContent = `${shown} of ${table.tBodies[0].rows.length}`;
    if (!board) return;
    const only = section.querySelector("[data-filter=dataset]")?.value || "";
    for (const node of section.querySelectorAll("[data-dataset]")) node.hidden = only !== "" && node.dataset.dataset !== only;
    for (const node of section.querySelectorAll("figure.tile[data-number], details.objective")) node.hidden = !numbers.has(node.dataset.number);
    if (section.charts) { section.charts.visible = numbers; section.charts.only = only; section.charts.draw(); }
  }

  function charts(section) {
    const data = JSON.parse(section.querySelector("script.charts").textContent);
    const entries = new Map(data.objectives.map((e) => [e.number, e]));
    const chart = {
      data, visible: null, only: "",
      entry: (number) => entries.get(number),
      shows: (number) => !chart.visible || chart.visible.has(String(number)),
      heat(number, on) {
        for (const svg of section.querySelectorAll(".panels:not(.own) svg")) svg.classList.toggle("hot", on);
        for (const node of section.querySelectorAll(`.panels:not(.own) [data-number="${number}"]`)) node.classList.toggle("hot", on);
      },
      datasets: (drawn) => data.datasets.filter((d) => (!chart.only || d.id === chart.only) && drawn[d.id].length),
      fill(host, draw, least, sets) {
        host.textContent = "";
        host.classList.toggle("single", sets.length === 1);
        const columns = sets.length === 1 ? 1 : Math.max(1, Math.floor((host.clientWidth + 16) / (least + 16)));
        const width = Math.round((host.clientWidth - 16 * (columns - 1)) / columns) - 14;
        if (width > 60) for (const d of sets) draw(host, d, width);
      },
      draw() {
        const [cloud, lines] = [section.querySelector(".scatter"), section.querySelector(".panels.curves")];
        const pick = (figure, name) => figure.querySelector(`[data-axis=${name}]`).value;
        const of = cloud.closest("figure");
        chart.fill(cloud, (host, d, w) => Charts.scatter(chart, host, d, pick(of, "x"), pick(of, "y"), w), 460, chart.datasets(data.points));
        if (lines) chart.fill(lines, (host, d, w) => Charts.curves(chart, host, d, pick(lines.closest("figure"), "along"), w), 460, chart.datasets(data.curves));
      },
      own(details) {
        const number = Number(details.dataset.number);
        for (const image of details.querySelectorAll("img[data-copy]")) {
          const [gallery, n, kind] = image.dataset.copy.split("|");
          image.src = document.getElementById(gallery).querySelector(`figure[data-number="${n}"] img[data-kind="${kind}"]`).src;
        }
        const host = details.querySelector(".panels.own");
        chart.fill(host, (h, d, w) => Charts.curves(chart, h, d, "step", w, number), 300, data.datasets.filter((d) => data.curves[d.id].some((c) => c.number === number)));
      },
    };
    section.charts = chart;
    const legend = section.querySelector(".legend");
    for (const e of data.objectives) {
      const item = document.createElement("li"), badge = document.createElement("b"), link = document.createElement("a");
      badge.textContent = e.number;
      badge.style.background = `var(--${e.colour})`;
      link.textContent = e.name + (e.control ? " (control)" : "");
      link.href = `#${e.id}`;
      item.append(badge, link);
      for (const [name, on] of [["mouseenter", true], ["mouseleave", false]]) item.addEventListener(name, () => chart.heat(e.number, on));
      legend.appendChild(item);
    }
    for (const figure of section.querySelectorAll("figure.chart")) {
      figure.addEventListener("change", () => chart.draw());
      figure.querySelector(".save").addEventListener("click", () => Charts.save(figure, section.dataset.provenance, figure.id));
    }
    for (const details of section.querySelectorAll("details.objective")) details.addEventListener("toggle", () => details.open && chart.own(details));
    chart.draw();
  }

  function follow() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    target.hidden = false;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView();
  }

  document.querySelectorAll("script.charts").forEach((script) => charts(script.closest("section")));
  for (const bar of document.querySelectorAll(".filters")) { bar.addEventListener("input", () => filter(bar)); filter(bar); }
  for (const choice of document.querySelectorAll(".switch input"))
    choice.addEventListener("change", () => {
      for (const image of choice.closest(".gallery").querySelectorAll("img[data-kind]")) image.hidden = image.dataset.kind !== choice.value;
    });
  addEventListener("hashchange", follow);
  let width = innerWidth, timer;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => document.querySelectorAll("section.board").forEach((s) => s.charts?.draw()), 120);
  });
  follow();
})();
