/* What every page does in the browser: times in the reader's zone, copy, keys, lists, the palette, the colours.
   Everything works without it; it only makes it quicker. */
(() => {
  "use strict";
  const body = document.body;
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  /* Times */
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
  function relative(then) {
    const seconds = (then - Date.now()) / 1000;
    const far = Math.abs(seconds);
    const said = (amount, word) => (seconds < 0 ? `${Math.max(1, Math.floor(amount))} ${word} ago` : `in ${Math.max(1, Math.floor(amount))} ${word}`);
    if (far < 45) return seconds < 0 ? "just now" : "in a moment";
    if (far < 3600) return said(far / 60, "min");
    if (far < 86400) return said(far / 3600, "h");
    if (far < 30 * 86400) return said(far / 86400, "d");
    return (then.getFullYear() === new Date().getFullYear() ? day : dayOfYear).format(then);
  }
  function times(root) {
    for (const element of $$("time[data-when]", root)) {
      const then = new Date(element.dateTime);
      if (isNaN(then)) continue;
      const text = element.dataset.when === "exact" ? short.format(then) : relative(then);
      if (element.textContent !== text) element.textContent = text;
      element.title = exact.format(then);
    }
  }
  setInterval(() => { if (!document.hidden) times(document); }, 30000);

  /* The reader's zone, in which the server's filters take a day */
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes(`zone=${zone}`)) document.cookie = `zone=${zone}; path=/; max-age=31536000; samesite=lax`;

  /* Saying things */
  let toastTimer;
  function announce(text) { const place = $("#announce"); place.textContent = ""; setTimeout(() => { place.textContent = text; }, 50); }
  function toast(text) {
    let box = $(".toast");
    if (!box) { box = document.createElement("div"); box.className = "toast"; box.setAttribute("aria-hidden", "true"); body.append(box); }
    box.textContent = text;
    box.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { box.hidden = true; }, 2600);
    announce(text);
  }

  /* Copy */
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      (button.closest("dialog") || body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
    toast("Copied");
  });

  /* Menus close when the reader looks elsewhere */
  document.addEventListener("click", (event) => {
    for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of $$("details.menu[open]")) { menu.open = false; $("summary", menu).focus(); }
  });

  /* Questions before what cannot be undone, filters that apply at once, one press per form */
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-confirm]");
    if (button && !window.confirm(button.dataset.confirm)) { event.preventDefault(); event.stopPropagation(); }
  }, true);
  document.addEventListener("change", (event) => {
    const field = event.target.closest("[data-autosubmit]");
    if (field) field.form.requestSubmit();
    const all = event.target.closest("[data-check-all]");
    if (all) for (const box of $$(`input[name="${all.dataset.checkAll}"]`, all.form || document)) if (!box.disabled) box.checked = all.checked;
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 4000);
  });

  /* Tabs that do not fit: the one that is open is in view */
  for (const tab of $$(".tabs [aria-current]")) {
    const bar = tab.closest(".tabs");
    bar.scrollLeft = tab.offsetLeft - bar.offsetLeft - (bar.clientWidth - tab.offsetWidth) / 2;
  }

  /* Colours: at once here, kept by the server's cookie */
  document.addEventListener("submit", (event) => {
    const form = event.target.closest(".theme-form");
    if (!form || !event.submitter) return;
    event.preventDefault();
    const theme = event.submitter.value;
    document.documentElement.dataset.theme = theme;
    document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
    for (const button of $$("button", form)) button.setAttribute("aria-pressed", String(button === event.submitter));
  }, true);

  /* Lists to work off with the keyboard */
  function rows() { return $$("[data-rows] [data-row]").filter((row) => row.offsetParent !== null); }
  function step(by) {
    const all = rows();
    if (!all.length) return false;
    const here = all.indexOf(document.activeElement);
    const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by));
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
    return true;
  }

  /* The palette */
  const palette = $("#palette");
  const input = $("#palette-input");
  const results = $("#palette-results");
  let asked = 0;
  let timer;
  async function find() {
    const mine = ++asked;
    const answer = await fetch(`${body.dataset.search}?q=${encodeURIComponent(input.value)}`, { headers: { "X-Requested-With": "fetch" } });
    if (mine !== asked) return;
    if (!answer.ok || answer.redirected) { results.textContent = "The search does not answer. Reload the page."; return; }
    results.replaceChildren(...new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes);
    choose(0);
  }
  function choose(index) {
    const options = $$("a[role=option]", results);
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
    const chosen = options[index];
    input.setAttribute("aria-activedescendant", chosen ? chosen.id : "");
    if (chosen) chosen.scrollIntoView({ block: "nearest" });
  }
  function openPalette() {
    if (!palette || palette.open) return;
    const sheet = $("#sidebar:popover-open");
    if (sheet) sheet.hidePopover();
    palette.showModal();
    input.select();
    find();
  }
  if (palette) {
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 110); });
    input.addEventListener("keydown", (event) => {
      const options = $$("a[role=option]", results);
      const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
      if (event.key === "ArrowDown") { event.preventDefault(); choose(Math.min(options.length - 1, at + 1)); }
      else if (event.key === "ArrowUp") { event.preventDefault(); choose(Math.max(0, at - 1)); }
      else if (event.key === "Enter" && options[at]) { event.preventDefault(); location.assign(options[at].href); }
    });
    results.addEventListener("mousemove", (event) => {
      const option = event.target.closest("a[role=option]");
      if (option && option.getAttribute("aria-selected") !== "true") choose($$("a[role=option]", results).indexOf(option));
    });
  }
  for (const dialog of $$("dialog")) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette]") && palette) { event.preventDefault(); openPalette(); }
    if (event.target.closest("[data-help]")) $("#help").showModal();
  });

  /* Keys */
  let going = 0;
  /* A field of a dialog that was just closed keeps the focus until the page is drawn again. */
  const typing = (target) => !target.closest("dialog:not([open])") && (target.isContentEditable || target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, .CodeMirror"));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); openPalette(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event.target) || $("dialog[open]") || !palette) return;
    const key = event.key;
    if (Date.now() - going < 1200) {
      going = 0;
      const link = $$("#sidebar [data-key]").find((one) => one.dataset.key === key);
      if (link) { event.preventDefault(); location.assign(link.href); }
      return;
    }
    if (key === "g") { going = Date.now(); return; }
    if (key === "/") { event.preventDefault(); const here = $("[data-search-here]"); if (here) { here.focus(); here.select(); } else openPalette(); }
    else if (key === "c") { event.preventDefault(); location.assign(body.dataset.compose); }
    else if (key === "?") { event.preventDefault(); $("#help").showModal(); }
    else if ((key === "ArrowDown" || key === "j") && (key === "j" || event.target === body || event.target.matches("[data-row], main")) && step(1)) event.preventDefault();
    else if ((key === "ArrowUp" || key === "k") && (key === "k" || event.target === body || event.target.matches("[data-row], main")) && step(-1)) event.preventDefault();
  });

  /* Parts that look again by themselves: never while hidden, never under a person's hands, never for nothing */
  const drawn = new Map();
  const plain = (html) => html.replace(/(name="csrfmiddlewaretoken" value=")[^"]*/g, "$1").replace(/(<time[^>]*>)[^<]*/g, "$1").trim();
  const inUse = (part) => (part.contains(document.activeElement) && document.activeElement !== body) || $("details.menu[open]", part);
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt;
    if (part.id && /every/.test(part.getAttribute("hx-trigger")) && (document.hidden || inUse(part))) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const answered = event.detail.xhr.responseURL;
    if (answered && new URL(answered).pathname === "/login/" && location.pathname !== "/login/") {
      event.detail.shouldSwap = false;
      toast("You are signed out. Sign in in another tab, then go on here.");
      return;
    }
    const part = event.detail.elt;
    if (!part.id || !/every/.test(part.getAttribute("hx-trigger"))) return;
    const now = plain(event.detail.xhr.responseText);
    if (drawn.get(part.id) === now || inUse(part)) event.detail.shouldSwap = false;
    drawn.set(part.id, now);
  });
  document.addEventListener("htmx:afterSettle", (event) => times(event.target));
  document.addEventListener("htmx:responseError", (event) => toast(event.detail.xhr.status === 403 ? "You are signed out, or this is not yours to do. Reload the page." : "The server did not answer as it should. Try again."));
  document.addEventListener("htmx:sendError", () => toast("The server does not answer. Check your connection."));
  times(document);
  window.mergeyard = { refresh: times, announce, toast };
})();
