/* The compose page: what a person typed is never lost, errors go to their fields, YAML gets an editor, long lists a search.
   The page works without it; the server decides everything. */
(() => {
  "use strict";
  const desk = document.getElementById("desk");
  if (!desk) return;
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const say = (text) => window.mergeyard && window.mergeyard.announce(text);
  document.documentElement.classList.add("scripted");

  /* Form, YAML or both; on a phone one step at a time */
  let editor;
  function setView(view) {
    desk.dataset.view = view;
    for (const link of $$("[data-view-to]")) {
      if (link.dataset.viewTo === view) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    document.cookie = `compose-view=${view}; path=/; max-age=31536000; samesite=lax`;
    if (editor) editor.refresh();
  }
  function setStep(step) {
    desk.dataset.step = step;
    for (const button of $$("[data-step-to]")) button.setAttribute("aria-pressed", String(button.dataset.stepTo === step));
    if (editor) editor.refresh();
  }
  document.addEventListener("click", (event) => {
    const view = event.target.closest("[data-view-to]");
    if (view) { event.preventDefault(); setView(view.dataset.viewTo); setStep(view.dataset.viewTo === "yaml" ? "yaml" : "form"); return; }
    const step = event.target.closest("[data-step-to]");
    if (step) setStep(step.dataset.stepTo);
    const fill = event.target.closest("[data-fill]");
    if (fill) put(byId(fill.dataset.fill), fill.dataset.with);
    const jump = event.target.closest(".problems a[href^='#'], .checks a[href^='#']");
    if (jump && goTo(decodeURIComponent(jump.hash.slice(1)))) event.preventDefault();
  });
  function put(input, text) {
    if (!input) return;
    input.value = text;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  }
  function goTo(id) {
    let place = byId(id) || byId(`${id}.ref`);
    for (let name = id; !place && name.includes("."); ) { name = name.slice(0, name.lastIndexOf(".")); place = byId(name); }
    if (!place) return false;
    if (desk.dataset.view === "yaml") setView("form");
    setStep("form");
    for (let part = place.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    focusOn(place);
    return true;
  }
  function focusOn(place) {
    const inner = place.matches("input, select, textarea, button") ? place : $("input:not([type=hidden]), select, textarea", place) || place;
    (inner.tomselect ? inner.tomselect : inner).focus();
    place.scrollIntoView({ block: "center" });
  }

  /* Is anything not stored yet? */
  const dirty = new Set();
  const flying = new Set();
  let proposing = null;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-saves]");
    if (!form) return;
    dirty.add(form);
    document.documentElement.classList.add("saving");
    markChanged(event.target);
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const form = event.detail.elt.closest("form[data-saves]");
    if (form) { dirty.delete(form); flying.add(form); }
    if (form !== describe) typed = snapshot(); // its answer draws nothing anew
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.elt.closest("form[data-saves]");
    if (!form) return;
    flying.delete(form);
    if (!event.detail.successful) {
      dirty.add(form);
      failed(event.detail.xhr.status ? "Not saved: the server could not store it. Keep this page open and type on; it tries again." : "Not saved: the server cannot be reached. Keep this page open; it tries again.");
      setTimeout(() => { if (dirty.has(form)) htmx.trigger(form, "input"); }, 4000);
      proposing = null;
      return;
    }
    settle();
  });
  function settle() {
    if (dirty.size || flying.size) return;
    document.documentElement.classList.remove("saving");
    if (proposing) { const form = proposing; proposing = null; if (!$(".saved-state.failed")) form.requestSubmit(byId("propose")); }
  }
  function failed(text) {
    const state = byId("saved-state");
    state.classList.add("failed");
    $("span", state).textContent = text;
    say(text);
  }
  const describe = byId("describe-form");
  if (describe) {
    describe.addEventListener("submit", (event) => {
      if (!dirty.size && !flying.size) return;
      event.preventDefault();
      proposing = describe;
      for (const form of dirty) htmx.trigger(form, "input");
    });
    byId("title").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  }
  addEventListener("pagehide", () => {
    for (const form of dirty) {
      if (form === describe) navigator.sendBeacon(form.getAttribute("hx-post"), new FormData(form));
      else navigator.sendBeacon(form.action, new FormData(form));
    }
  });

  /* What was typed while an answer was on its way stays, and so does the place of the cursor */
  let typed = new Map();
  let kept = null;
  const controls = () => $$("#form-body input:not([type=hidden]), #form-body select, #form-body textarea, #add-new input, #add-new select");
  const valueOf = (control) => (control.type === "checkbox" || control.type === "radio" ? control.checked : control.value);
  function snapshot() { return new Map(controls().filter((control) => control.id).map((control) => [control.id, valueOf(control)])); }
  function keep() {
    const active = document.activeElement;
    const changed = controls().filter((control) => control.id && typed.has(control.id) && typed.get(control.id) !== valueOf(control));
    kept = {
      changed: changed.map((control) => [control.id, valueOf(control)]),
      active: active && active.id ? active.id.replace(/-ts-control$/, "") : "",
      at: active && typeof active.selectionStart === "number" ? [active.selectionStart, active.selectionEnd] : null,
      open: $$("#form-body details").map((part) => [part.id, part.open]),
    };
  }
  function restore() {
    if (!kept) return;
    for (const [id, open] of kept.open) if (byId(id)) byId(id).open = open;
    for (const [id, value] of kept.changed) {
      const control = byId(id);
      if (!control) continue;
      if (typeof value === "boolean") control.checked = value; else control.value = value;
      control.dispatchEvent(new Event("input", { bubbles: true }));
    }
    const active = kept.active && byId(kept.active);
    if (active && document.activeElement !== active && (!document.activeElement || document.activeElement === document.body || !document.activeElement.isConnected)) {
      (active.tomselect || active).focus();
      if (kept.at && active.setSelectionRange && active.type === "text") active.setSelectionRange(...kept.at);
    }
    kept = null;
  }
  const redrawn = (target) => target && (target.id === "form-body" || target.id === "add-new");
  document.addEventListener("htmx:oobBeforeSwap", (event) => { if (redrawn(event.detail.target)) keep(); });
  document.addEventListener("htmx:beforeSwap", (event) => { if (redrawn(event.detail.target)) keep(); });
  document.addEventListener("htmx:afterSettle", arrived);
  document.addEventListener("htmx:oobAfterSwap", arrived);
  let waiting = false;
  function arrived() {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; after(); });
  }
  function after() {
    pickers();
    restore();
    takeYaml();
    spread();
    planChanged();
    for (const text of $$("#saved-state [data-announce]")) say(text.textContent);
  }

  /* Errors at their fields: the list above the form is where they come from */
  let told = -1;
  function spread() {
    const list = byId("problems");
    if (!list) return;
    const said = new Map();
    for (const line of $$("[data-fault]", list)) {
      const field = line.dataset.fault;
      said.set(field, [...(said.get(field) || []), $(".said", line).textContent]);
    }
    for (const place of $$("[data-field]", byId("form-body") || document)) {
      const messages = said.get(place.dataset.field) || (said.get(`${place.dataset.field}.ref`) || []);
      const slot = $$(".field-error", place).find((error) => error.closest("[data-field]") === place && !error.dataset.fieldError);
      if (slot) show(slot, messages);
      place.classList.toggle("has-error", messages.length > 0 && !place.matches("fieldset"));
      for (const control of $$("input, select, textarea", place)) {
        if (control.closest("[data-field]") !== place || control.type === "hidden" || /\.key$/.test(control.id)) continue;
        if (messages.length) control.setAttribute("aria-invalid", "true"); else control.removeAttribute("aria-invalid");
      }
    }
    for (const slot of $$("[data-field-error]")) show(slot, said.get(slot.dataset.fieldError) || []);
    markLines(list);
    const count = $$(".notice li", list).length;
    if (told !== -1 && count !== told) say(count ? `${count} to mend. ${$(".notice .said", list).textContent}` : "Nothing to mend.");
    told = count;
    if (list.dataset.focus) { const place = byId(list.dataset.focus); delete list.dataset.focus; if (place) focusOn(place); }
  }
  function show(slot, messages) {
    const text = messages.join(" ");
    const place = $(".said", slot);
    if (place.textContent !== text) place.textContent = text;
    slot.hidden = !text;
  }
  function markChanged(control) {
    const field = control.closest(".doc-field[data-was]");
    if (!field || control.id.endsWith("-ts-control")) return;
    const now = control.type === "checkbox" ? String(control.checked) : control.value || control.placeholder || "";
    const changed = now !== field.dataset.was;
    field.classList.toggle("is-changed", changed);
    const mark = $(".changed-mark", field);
    if (mark) { mark.hidden = !changed; mark.textContent = `changed, was ${field.dataset.was}`; }
  }

  /* The plan's size on the phone's tab, the suggested title in the title's place */
  function planChanged() {
    const plan = byId("plan");
    if (!plan) return;
    const count = byId("step-count");
    if (count) count.textContent = plan.dataset.count === "0" ? "" : ` ${plan.dataset.count}`;
    const title = byId("title");
    if (title) title.placeholder = plan.dataset.suggested || "Title of the request";
  }

  /* YAML */
  const source = byId("yaml-text");
  let marks = [];
  function startEditor() {
    if (!source || !window.CodeMirror) return;
    editor = CodeMirror.fromTextArea(source, {
      mode: "yaml", lineNumbers: true, tabSize: 2, indentUnit: 2, indentWithTabs: false, viewportMargin: Infinity, lineWrapping: true,
      inputStyle: "contenteditable", spellcheck: false,
      extraKeys: { Tab: false, "Shift-Tab": false, "Ctrl-Space": false },
    });
    const field = editor.getInputField();
    field.setAttribute("aria-label", `YAML of ${$(".yaml-path code").textContent}`);
    field.setAttribute("role", "textbox");
    field.setAttribute("aria-multiline", "true");
    field.setAttribute("aria-describedby", "problems");
    editor.on("change", (_, change) => {
      if (change.origin === "setValue") return;
      editor.save();
      source.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
  function takeYaml() {
    const fresh = byId("yaml-new");
    if (!fresh || !source || !("fresh" in fresh.dataset)) return;
    delete fresh.dataset.fresh;
    const text = fresh.value;
    if (!editor) { source.value = text; return; }
    if (editor.getValue() === text || dirty.has(source.form)) return;
    const at = editor.getScrollInfo();
    const cursor = editor.getCursor();
    editor.setValue(text);
    editor.setCursor(cursor, null, { scroll: false });
    editor.scrollTo(at.left, at.top);
    editor.save();
  }
  function markLines(list) {
    /* While the text cannot be read, or was not stored, the form would overwrite it */
    const unreadable = $$("li[data-line]:not([data-fault])", list).length > 0;
    const form = byId("document-form");
    if (form) form.inert = unreadable || "unsaved" in list.dataset;
    if (!editor) return;
    for (const line of marks) editor.removeLineClass(line, "background", "cm-line-wrong");
    marks = $$("[data-line]", list).map((item) => editor.addLineClass(Math.min(Number(item.dataset.line), editor.lineCount()) - 1, "background", "cm-line-wrong"));
  }

  /* Pickers with search */
  function pickers() {
    for (const select of $$("select[data-picker]")) {
      if (select.tomselect || !window.TomSelect) continue;
      const label = select.labels && select.labels[0];
      const picker = new TomSelect(select, {
        allowEmptyOption: true, maxOptions: 500,
        onChange: () => select.dispatchEvent(new Event("input", { bubbles: true })),
      });
      if (label) select.setAttribute("aria-label", label.firstChild.textContent.trim());
      picker.control_input.setAttribute("aria-describedby", select.getAttribute("aria-describedby"));
    }
    for (const fill of $$(".fill[hidden]")) fill.hidden = false;
  }
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.type !== "checkbox" || !box.id.endsWith(".generate") || !box.checked) return;
    const place = byId(box.id.replace(/\.generate$/, ".ref"));
    if (place && !place.value) place.value = place.placeholder;
  });

  /* What was typed before anybody listened: the page is used while its scripts are still on their way */
  const untouched = (control) => {
    if (control.type === "checkbox" || control.type === "radio") return control.checked === control.defaultChecked;
    if (control.options) return control.value === ([...control.options].find((option) => option.defaultSelected) || control.options[0] || control).value;
    return control.value === control.defaultValue;
  };
  document.addEventListener("DOMContentLoaded", () => {
    const early = $$("form[data-saves] :is(input, select, textarea), #add-new :is(input, select)").filter((control) => control.type !== "hidden" && !untouched(control));
    startEditor();
    pickers();
    if ($(".form-body.empty")) desk.dataset.view = desk.dataset.step = "yaml";
    setStep(desk.dataset.step === "yaml" ? "yaml" : "form");
    spread();
    planChanged();
    for (const control of early) control.dispatchEvent(new Event("input", { bubbles: true }));
  });
})();
