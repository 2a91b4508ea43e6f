"use strict";
(() => {
  const tip = document.getElementById("tip");

  // --- hints: of cells and of depths, when pointed at or focused ---------------------

  function show(target) {
    tip.replaceChildren(
      ...target.dataset.hint.split("\n").map((line) => {
        const row = document.createElement("div");
        row.textContent = line;
        return row;
      })
    );
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    const left = at.left + at.width / 2 - size.width / 2;
    const above = at.top - size.height - 8;
    tip.style.left = Math.max(8, Math.min(left, room - size.width - 8)) + "px";
    tip.style.top = (above > 8 ? above : Math.max(8, Math.min(at.bottom + 8, innerHeight - size.height - 8))) + "px";
  }

  function hide() {
    tip.hidden = true;
  }

  function addHint(target, text) {
    target.dataset.hint = text;
    target.addEventListener("mouseenter", () => show(target));
    target.addEventListener("mouseleave", hide);
    target.addEventListener("focus", () => {
      target.setAttribute("aria-describedby", "tip");
      show(target);
    });
    target.addEventListener("blur", () => {
      target.removeAttribute("aria-describedby");
      hide();
    });
  }

  // Without this script the browser's own hints say the same.
  for (const cell of document.querySelectorAll(".heat td")) {
    addHint(cell, cell.title);
    cell.removeAttribute("title");
  }
  for (const depth of document.querySelectorAll(".depth")) {
    const title = depth.querySelector("title");
    addHint(depth, title.textContent);
    title.remove();
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("scroll", hide, true);

  // --- arrow keys: one stop for the tabulator in each grid ---------------------------

  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  function walk(rows, container) {
    container.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      const y = rows.findIndex((row) => row.includes(document.activeElement));
      if (!step || y < 0) return;
      const x = rows[y].indexOf(document.activeElement);
      const next = rows[y + step[0]]?.[x + step[1]];
      event.preventDefault();
      if (!next) return;
      rows[y][x].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      // First into view, then the hint: scrolling hides it.
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
      requestAnimationFrame(() => next.focus({ preventScroll: true }));
    });
  }

  for (const table of document.querySelectorAll(".heat")) {
    walk([...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td")]), table);
  }
  for (const chart of document.querySelectorAll(".chart")) {
    walk([[...chart.querySelectorAll(".depth")]], chart);
  }

  // --- legends: which pooling has its band shown --------------------------------------

  for (const figure of document.querySelectorAll(".lines")) {
    const buttons = [...figure.querySelectorAll(".legend button")];
    for (const button of buttons) {
      button.addEventListener("click", () => {
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        for (const series of figure.querySelectorAll(".series[data-series]")) {
          const chosen = series.dataset.series === button.dataset.series;
          series.classList.toggle("on", chosen);
          if (chosen) series.parentNode.append(series);
        }
      });
    }
  }

  // --- long tables begin at their best row ---------------------------------------------

  for (const box of document.querySelectorAll(".tall")) {
    const best = box.querySelector("tr.best");
    if (best) box.scrollTop = best.offsetTop - box.clientHeight / 2;
  }

  // --- copy ---------------------------------------------------------------------------

  // Pages from files and frames of notebooks may not have the clipboard; an old way may
  // work, and at the least the code is selected.
  async function copy(code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copy(document.getElementById(button.getAttribute("aria-controls")));
      button.textContent = done ? "Copied" : "Selected";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
})();
