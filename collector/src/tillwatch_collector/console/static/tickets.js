// Tickets: `a` takes the one whose row has the focus, what was unfolded in a live part stays so, a button prints, a file
// that is too long is refused before it is sent. All of it can be done without.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.key !== "a" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog")) return;
  document.activeElement.closest("tr")?.querySelector("[data-take]")?.click();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]") !== null) print();
});

document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.dataset.bytesMax === undefined) return;
  const tooLong = [...field.files].some((file) => file.size > Number(field.dataset.bytesMax));
  field.setCustomValidity(tooLong ? field.dataset.tooLong : "");
  field.reportValidity();
});

(() => {
  let unfolded = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    unfolded = [...event.detail.target.querySelectorAll("details[id][open]")].map((each) => each.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  });
})();
