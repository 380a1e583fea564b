"""The style and the script of a comparison's page. Without the script all is there but the slider and the sorting."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --pale: #646a72; --paper: #fff; --rule: #e2e5e9; --tint: #f5f7f9;
  --accent: #2a6fb7; --good: #14804a; --bad: #be2828; --mark: #ffb000 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --pale: #9aa0a6; --paper: #17191c; --rule: #33373c;
  --tint: #202327; --accent: #7fb2e8; --good: #6fcf97; --bad: #f28b82 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1480px; padding: 28px clamp(14px, 3vw, 40px) 64px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 28px; line-height: 1.2; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 20px; margin: 48px 0 8px } h3 { font-size: 16px; margin: 28px 0 8px; overflow-wrap: anywhere }
p { margin: 4px 0 } p, figcaption, .notes { color: var(--pale); overflow-wrap: anywhere }
.notes { padding-left: 20px; font-size: 14px }
nav { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 14px 0 0 }
a { color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.scroll { overflow-x: auto; margin-top: 10px }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 560px }
th, td { padding: 6px 22px 6px 0; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tbody th { font-weight: 500 } thead th { color: var(--pale); font-weight: 500; vertical-align: bottom }
thead small { display: block; font-size: 12px; font-weight: 400 }
thead button { all: unset; cursor: pointer } thead button:focus-visible { outline: 3px solid var(--accent) }
thead button span::after { content: " \\2195"; opacity: .45 }
[aria-sort=ascending] button span::after { content: " \\2191"; opacity: 1 }
[aria-sort=descending] button span::after { content: " \\2193"; opacity: 1 }
.theirs th, .theirs td { color: var(--pale); font-style: italic }
.best { font-weight: 700 } .more { color: var(--good) } .less { color: var(--bad) }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 16px;
  margin-top: 16px }
.plots img { width: 100%; height: auto; border-radius: 6px; background: #fff; display: block }
.image { display: grid; gap: 16px 24px; align-items: start }
@media (min-width: 1000px) { .image { grid-template-columns: minmax(0, 5fr) minmax(0, 7fr) } }
figure { margin: 0; min-width: 0 }
.viewer { position: relative; overflow: hidden; border-radius: 4px; background: var(--tint); touch-action: pan-y }
.viewer img { display: none; position: absolute; inset: 0; width: 100%; height: 100% }
.viewer img.plain { display: block }
.viewer.live img.plain { display: none }
.viewer.live img.left, .viewer.live img.right { display: block }
.viewer.live img.left { z-index: 1; clip-path: inset(0 calc(100% - var(--at)) 0 0) }
.viewer.live { cursor: ew-resize }
.viewer.live::after { content: ""; position: absolute; z-index: 2; top: 0; bottom: 0; left: calc(var(--at) - 1px);
  width: 2px; background: #fff; box-shadow: 0 0 3px #000 }
.viewer i { position: absolute; z-index: 2; outline: 2px solid var(--mark); box-shadow: 0 0 0 3px #0008 }
.viewer b { position: absolute; z-index: 3; bottom: 8px; padding: 1px 8px; border-radius: 4px; color: #fff;
  background: #000a; font-weight: 500; font-size: 13px } .viewer b:empty { display: none }
.viewer b.left { left: 8px } .viewer b.right { right: 8px }
.pixels, .crops img { image-rendering: pixelated }
.controls { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; margin-top: 8px }
.controls[hidden] { display: none }
.controls input { flex: 1 1 100%; margin: 0; accent-color: var(--accent); height: 24px }
.controls label { display: flex; gap: 6px; align-items: center; flex: 1 1 150px; min-width: 0 }
.controls select { font: inherit; min-width: 0; flex: 1; color: inherit; background: var(--tint);
  border: 1px solid var(--rule); border-radius: 4px; padding: 3px 6px }
.crops { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(45%, 168px), 1fr)); gap: 12px; padding: 0;
  margin: 0; list-style: none }
.crops img { display: block; width: 100%; height: auto; border-radius: 3px }
.crops strong { display: block; font-weight: 600; overflow-wrap: anywhere; line-height: 1.3; margin-top: 4px }
.crops span { color: var(--pale); font-size: 13px; display: block; line-height: 1.35 }
"""

SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const of = row => row.cells[i].dataset.value;
      const number = row => of(row) === undefined || of(row) === "" ? NaN : Number(of(row));
      const rows = [...body.rows].sort((a, b) => {
        if (i === 0) return (down ? -1 : 1) * a.cells[0].textContent.localeCompare(b.cells[0].textContent);
        const [x, y] = [number(a), number(b)];
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return down ? y - x : x - y;
      });
      body.append(...rows);
    });
  });
}
for (const viewer of document.querySelectorAll(".viewer")) {
  const controls = viewer.parentElement.querySelector(".controls");
  const slider = controls.querySelector("input"), images = [...viewer.querySelectorAll("img")];
  const show = () => {
    for (const side of ["left", "right"]) {
      const name = controls.querySelector("select." + side).value;
      images.forEach(image => image.classList.toggle(side, image.dataset.version === name));
      viewer.querySelector("b." + side).textContent = name;
    }
    viewer.style.setProperty("--at", slider.value + "%");
  };
  controls.addEventListener("input", show);
  const drag = event => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = viewer.getBoundingClientRect();
    slider.value = 100 * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    show();
  };
  viewer.addEventListener("pointerdown", drag);
  viewer.addEventListener("pointermove", drag);
  viewer.addEventListener("dragstart", event => event.preventDefault());
  controls.hidden = false;
  viewer.classList.add("live");
  show();
}
"""
