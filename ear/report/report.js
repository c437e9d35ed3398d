"use strict";
// Filters, enlarging, unblurring, and what is folded on paper; without this script everything is still on the page.
(() => {
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")];
    for (const each of unfolded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of unfolded) each.open = false;
  });

  const unsafe = [...document.querySelectorAll("input[name=unsafe]")];
  for (const box of unsafe) {
    box.addEventListener("change", () => {
      document.body.classList.toggle("show-unsafe", box.checked);
      for (const each of unsafe) each.checked = box.checked;
    });
  }

  const cards = [...document.querySelectorAll(".card")];
  const form = document.getElementById("filters");
  if (!form) return;
  const STEP = 12; // images are decoded as they are shown: with more at once, the page answers later
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  let shown = STEP;
  let visible = new Set();
  for (const card of cards) card.hidden = true;

  const matching = () => {
    const wanted = [...form.querySelectorAll("select")].filter((select) => select.value);
    return cards.filter((card) => wanted.every((select) => card.dataset[select.name] === select.value));
  };

  const update = () => {
    const found = matching();
    const next = new Set(found.slice(0, shown));
    for (const card of visible) if (!next.has(card)) card.hidden = true;
    for (const card of next) card.hidden = false;
    visible = next;
    const first = found.length > shown ? `, the first ${shown} shown` : "";
    count.textContent = `${found.length} of ${cards.length} pairs${first}`;
    more.hidden = found.length <= shown;
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  for (const select of form.querySelectorAll("select")) {
    select.addEventListener("change", () => {
      shown = STEP;
      update();
    });
  }
  more.addEventListener("click", () => {
    const first = matching()[shown];
    shown += STEP;
    update();
    first.querySelector("button")?.focus();
  });

  const dialog = document.getElementById("enlarged");
  const large = dialog.querySelectorAll("img");
  const text = dialog.querySelector(".text");
  const buttons = ["next", "previous", "close"].map((id) => document.getElementById(id));
  const [next, previous, close] = buttons;
  let current = null;

  const beside = (steps) => {
    const found = matching().filter((card) => card.querySelector("img"));
    return found[found.indexOf(current) + steps];
  };
  const open = (card) => {
    current = card;
    const images = card.querySelectorAll("img");
    dialog.classList.toggle("unsafe", card.classList.contains("unsafe"));
    large.forEach((image, index) => (image.src = images[index].src));
    text.replaceChildren(...[...card.querySelectorAll("p")].map((line) => line.cloneNode(true)));
    const focused = document.activeElement;
    previous.disabled = !beside(-1);
    next.disabled = !beside(1);
    if (!dialog.open) dialog.showModal();
    else if (focused.disabled) buttons.find((button) => !button.disabled).focus();
  };
  const move = (steps) => {
    const card = beside(steps);
    if (card) open(card);
  };

  for (const card of cards) card.querySelector("button")?.addEventListener("click", () => open(card));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  previous.addEventListener("click", () => move(-1));
  next.addEventListener("click", () => move(1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (current && !current.hidden) current.querySelector("button").focus();
  });
  update();
})();
