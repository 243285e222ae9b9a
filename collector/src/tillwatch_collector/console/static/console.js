// What a page does beside htmx: keeps still what is the same, pauses, asks before what cannot be undone, moves by keys.
// A page works without it, but for what is live. Nothing here makes markup of text.
"use strict";

(() => {
  const told = document.getElementById("told");
  const live = document.getElementById("live");
  let paused = false;

  const tell = (text, kind) => {
    const line = document.createElement("p");
    line.className = `banner ${kind}`;
    line.textContent = text;
    told.replaceChildren(line);
  };

  // --- live parts: not asked for while paused or out of sight, not touched while they are the same

  document.addEventListener("htmx:beforeRequest", (event) => {
    const asksByItself = event.detail.requestConfig.triggeringEvent == null && event.detail.requestConfig.verb === "get";
    if (asksByItself && (paused || document.hidden)) event.preventDefault();
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const tag = event.detail.xhr.getResponseHeader("ETag");
    const target = event.detail.target;
    const same = tag !== null && target.dataset.tag === tag && event.detail.xhr.responseURL === target.dataset.from;
    if (same) event.detail.shouldSwap = false;
    if (tag !== null) {
      target.dataset.tag = tag;
      target.dataset.from = event.detail.xhr.responseURL;
    }
  });

  document.addEventListener("htmx:responseError", (event) => {
    const text = event.detail.xhr.getResponseHeader("content-type")?.startsWith("text/plain") ? event.detail.xhr.responseText : "";
    tell(text || told.dataset.failed, "bad");
  });
  document.addEventListener("htmx:sendError", () => tell(told.dataset.failed, "bad"));
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && told.textContent.trim() === told.dataset.failed) told.replaceChildren();
  });

  if (live !== null) {
    live.hidden = document.querySelector('[hx-trigger^="every"]') === null;
    live.addEventListener("click", () => {
      paused = !paused;
      live.setAttribute("aria-pressed", String(paused));
      live.textContent = paused ? live.dataset.resume : live.dataset.pause;
      document.body.classList.toggle("paused", paused);
    });
  }

  // --- confirmation: `data-confirm` on a form, or on one of its buttons, is the question

  const dialog = document.getElementById("confirm");
  document.addEventListener("submit", (event) => {
    const asked = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
    if (asked === undefined || event.target.dataset.confirmed === "yes") return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const question = document.getElementById("confirm-what");
    question.textContent = asked || question.dataset.default;
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") return;
      event.target.dataset.confirmed = "yes";
      event.target.requestSubmit(event.submitter ?? undefined);
      delete event.target.dataset.confirmed;
    }, { once: true });
    dialog.showModal();
  }, true);

  // --- small conveniences

  document.addEventListener("change", (event) => {
    if (event.target.dataset.submits !== undefined) event.target.form.requestSubmit();
  });

  // The theme changes where one is, so that nothing typed into another form is lost; it is kept for the next page.
  document.getElementById("theme")?.addEventListener("change", (event) => {
    const form = event.target.form;
    document.documentElement.dataset.theme = event.target.value;
    const body = new URLSearchParams(new FormData(form));
    fetch(form.action, { method: "POST", body, redirect: "manual", keepalive: true })
      .then((answer) => { if (answer.type !== "opaqueredirect" && !answer.ok) tell(told.dataset.failed, "bad"); })
      .catch(() => tell(told.dataset.failed, "bad"));
  });

  // Keys: `/` seeks, `j` and `k` walk the rows of a table, Enter opens one; `data-key` presses its element.
  const rows = () => [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a[href]"));
  const walk = (step) => {
    const all = rows();
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
    next?.querySelector("a[href]").focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) return;
    if (event.key === "/") {
      const seek = document.querySelector('main input[type="search"]');
      if (seek === null) return;
      event.preventDefault();
      seek.focus();
      return;
    }
    if (event.key === "j") return walk(1);
    if (event.key === "k") return walk(-1);
    const pressed = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (pressed !== null) {
      event.preventDefault();
      pressed.matches("input, textarea, select") ? pressed.focus() : pressed.click();
    }
  });

  // The browser's time zone, so that times are told as its clock shows them.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.includes(`tillwatch_zone=${zone}`)) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `tillwatch_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Strict${secure}`;
  }
})();
