/* Live parts of pages: one stream per page for all its runs, logs that grow, a block that is drawn again in place.
   Texts of events are written as text nodes only. */
(() => {
  "use strict";
  const MAX_LINES = 6000, FAR = 3000;
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const store = {
    get(name) { try { return localStorage.getItem(name); } catch { return null; } },
    set(name, value) { try { localStorage.setItem(name, value); } catch { /* private window */ } },
  };
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const clock = (text) => {
    const at = new Date(text);
    return isNaN(at) ? "" : at.toLocaleTimeString([], { hour12: false });
  };
  const duration = (seconds) => {
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    const whole = Math.floor(seconds), minutes = Math.floor(whole / 60), rest = whole % 60;
    if (whole < 60) return `${whole} s`;
    if (minutes < 60) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };
  const running = (seconds) => {
    if (seconds < 10) return `${Math.max(seconds, 0).toFixed(0)} s`;
    const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)}`;
    return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  };
  /* The parts of the page that look again by themselves do so now; at most once a second. */
  let hinted = 0, hinting;
  function hint() {
    clearTimeout(hinting);
    hinting = setTimeout(() => {
      hinted = Date.now();
      document.body.dispatchEvent(new Event("mergeyard:hint"));
    }, Math.max(150, hinted + 1000 - Date.now()));
  }
  async function fetchPart(url, headers = {}) {
    const answer = await fetch(url, { headers: { "HX-Request": "true", ...headers }, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(`The page answered ${answer.status}.`);
    return new DOMParser().parseFromString(await answer.text(), "text/html").body;
  }

  /* Bring an element to another's content without replacing what stays: focus, scroll and open parts are kept. */
  function morph(from, to) {
    if (from.isEqualNode(to)) return;
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || (from.id || to.id) && from.id !== to.id) {
      from.replaceWith(to);
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    if (from.hasAttribute("data-keep")) {
      if (from.dataset.open !== undefined) from.dataset.open = to.dataset.open;
      return;
    }
    for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
    }
    morphChildren(from, to);
  }
  function morphChildren(from, to) {
    const named = new Map($$(":scope > [id]", from).map((child) => [child.id, child]));
    const wanted = new Set($$(":scope > [id]", to).map((child) => child.id));
    let here = from.firstChild;
    for (const next of [...to.childNodes]) {
      while (here && here.id && !wanted.has(here.id)) { const gone = here; here = here.nextSibling; gone.remove(); }
      const same = next.id && named.get(next.id);
      if (same && same !== here) { from.insertBefore(same, here); morph(same, next); continue; }
      if (!here || next.id && !same || here.id && here.id !== next.id) { from.insertBefore(next, here); continue; }
      const after = here.nextSibling;
      morph(here, next);
      here = after;
    }
    while (here) { const gone = here; here = here.nextSibling; gone.remove(); }
  }

  const title = (line) => line.task || (line.number === 1 ? "Before the first task"
    : line.parts[0]?.[1].startsWith("PLAY RECAP") ? "Play recap" : "Between tasks");

  /* One run's log. `attached`: its last line is the newest, so that new ones may be put behind it. */
  class Log {
    constructor(root, page) {
      this.root = root; this.page = page;
      this.run = Number(root.dataset.run);
      this.body = $("[data-body]", root); this.folds = $("[data-folds]", root);
      this.first = Number(root.dataset.first); this.last = Number(root.dataset.last);
      this.attached = this.last >= Number(root.dataset.stored);
      this.follows = true; this.unseen = 0; this.pending = []; this.loading = false; this.found = null;
      for (const one of $$(".log-switch", root)) one.hidden = false;
      for (const box of $$("[data-switch]", root)) this.setUpSwitch(box);
      this.body.addEventListener("scroll", () => this.scrolled(), { passive: true });
      this.folds.addEventListener("toggle", (event) => { event.target.dataset.touched = this.placing ? "" : "1"; }, true);
      root.addEventListener("click", (event) => this.clicked(event));
      new ResizeObserver(() => { if (this.follows) this.toEnd(); }).observe(this.folds);
      this.top = 0;
      this.setUpSearch();
      this.localTimes(this.folds);
      const wanted = location.hash.match(/^#r(\d+)-l(\d+)$/);
      const failed = root.dataset.open === "0" && $(".ln[data-status=failed]", this.folds);
      if (wanted && Number(wanted[1]) === this.run) this.show(Number(wanted[2]));
      else if (failed) this.reveal(failed);
      else this.toEnd();
      this.drawEnds();
    }
    setUpSwitch(box) {
      const name = box.dataset.switch, key = `mergeyard-log-${name}`;
      box.checked = (store.get(key) ?? (name === "wrap" ? "1" : "0")) === "1";
      const apply = () => this.root.classList.toggle(`is-${name}`, box.checked);
      box.addEventListener("change", () => { store.set(key, box.checked ? "1" : "0"); apply(); if (this.follows) this.toEnd(); });
      apply();
    }
    localTimes(root) {
      for (const time of $$("time[datetime]:not([data-local])", root)) {
        time.textContent = clock(time.dateTime) || time.textContent;
        time.title = time.dateTime; time.dataset.local = "";
      }
    }
    get atEnd() { return this.body.scrollHeight - this.body.scrollTop - this.body.clientHeight < 40; }
    toEnd() { this.follows = true; this.body.scrollTop = this.body.scrollHeight; this.top = this.body.scrollTop; }
    scrolled() {
      const up = this.body.scrollTop < this.top - 2;
      this.top = this.body.scrollTop;
      if (this.attached && this.atEnd) this.follows = true;
      else if (up || !this.attached) this.follows = false;
      if (this.follows && this.unseen) { this.unseen = 0; }
      this.drawEnds();
      if (this.body.scrollTop < 200 && this.first > 1) this.load("before");
      else if (!this.attached && this.atEnd) this.load("after");
    }
    drawEnds() {
      $("[data-earlier]", this.root).hidden = this.first <= 1;
      $("[data-later]", this.root).hidden = this.attached;
      $("[data-none]", this.root).hidden = this.folds.childElementCount > 0;
      $("[data-end]", this.root).hidden = this.follows || this.attached && this.atEnd || this.folds.childElementCount === 0;
      $("[data-end-text]", this.root).textContent =
        this.unseen ? `${this.unseen} new line${this.unseen > 1 ? "s" : ""}` : "Go to the end";
    }
    clicked(event) {
      const link = event.target.closest("a, button");
      if (!link) return;
      if (link.matches("[data-earlier]")) { event.preventDefault(); this.load("before"); }
      else if (link.matches("[data-later]")) { event.preventDefault(); this.load("after"); }
      else if (link.matches("[data-end]")) { this.goToEnd(); }
      else if (link.matches("[data-next]")) { this.step(1); }
      else if (link.matches("[data-previous]")) { this.step(-1); }
      else if (link.matches(".ln-n") && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
        event.preventDefault();
        this.mark(link.parentElement);
        history.replaceState(history.state, "", `#${link.parentElement.id}`);
        navigator.clipboard?.writeText(link.href).then(() => window.mergeyard?.toast("Link to the line copied"), () => {});
      }
    }

    /* New lines, already in order and without a gap. */
    add(lines) {
      if (!this.attached) { this.unseen += lines.length; this.drawEnds(); return; }
      if (!this.pending.length) requestAnimationFrame(() => this.flush());
      this.pending.push(...lines);
    }
    flush() {
      const lines = this.pending.splice(0);
      if (!this.follows && this.folds.querySelectorAll(".ln").length > 2 * MAX_LINES) {
        this.attached = false; this.unseen += lines.length; this.drawEnds(); return;
      }
      const follow = this.follows;
      this.placing = true;
      for (const line of lines) this.place(line);
      this.last = lines.length ? lines[lines.length - 1].number : this.last;
      if (!this.first && lines.length) this.first = lines[0].number;
      if (follow) { this.trim(); this.toEnd(); } else this.unseen += lines.length;
      this.drawEnds();
      setTimeout(() => { this.placing = false; });
    }
    place(line) {
      let fold = this.folds.lastElementChild;
      if (!fold || line.sort === "task" || fold.dataset.task !== line.task) {
        if (fold && this.follows && !fold.dataset.touched && !["failed", "changed"].includes(fold.dataset.status)) fold.open = false;
        fold = this.newFold(line);
        this.folds.append(fold);
      }
      $("[data-lines]", fold).append(this.drawn(line));
      this.count(fold, line);
    }
    newFold(line) {
      const fold = make("details", { class: "fold", "data-fold": "", "data-task": line.task, "data-begins": "1", "data-status": "" });
      fold.open = true;
      fold.append(
        make("summary", {}, make("span", { class: "fold-task" }, title(line)),
          make("span", { class: "fold-counts", "data-counts": "" }), make("span", { class: "fold-time", "data-time": "" })),
        make("div", { class: "fold-lines", "data-lines": "" }));
      return fold;
    }
    drawn(line) {
      const text = make("span", { class: "ln-text" });
      for (const [classes, words] of line.parts) text.append(make("span", classes ? { class: classes } : {}, words));
      if (line.cut) text.append(make("i", { class: "ln-cut" }, ` … ${line.cut} more characters in the download`));
      const id = `r${line.run}-l${line.number}`;
      return make("div", { class: "ln", id, "data-number": line.number, "data-status": line.status, "data-sort": line.sort },
        make("a", { class: "ln-n", href: `${this.root.dataset.logUrl}?line=${line.number}#${id}`, "aria-label": `Line ${line.number}` }, String(line.number)),
        make("time", { class: "ln-at", datetime: line.at, title: line.at, "data-local": "" }, clock(line.at)), text);
    }
    count(fold, line) {
      const tally = fold.tally ??= this.tallyOf(fold, line);
      this.add1(tally, line.sort, line.status);
      const order = ["failed", "changed", "ok", "skipped"];
      const rank = (status) => order.includes(status) ? order.indexOf(status) : 9;
      if (rank(line.status) < rank(fold.dataset.status)) fold.dataset.status = line.status;
      tally.began ??= Date.parse(line.at);
      this.tell(fold, (Date.parse(line.at) - tally.began) / 1000);
    }
    tallyOf(fold, without) {
      const tally = { lines: 0, resources: 0, resource: {}, line: {} };
      for (const one of $$(".ln", fold)) {
        if (without && Number(one.dataset.number) === without.number) continue;
        this.add1(tally, one.dataset.sort, one.dataset.status);
      }
      const began = $("time", fold);
      if (began && (!without || tally.lines)) tally.began = Date.parse(began.dateTime);
      return tally;
    }
    add1(tally, sort, status) {
      tally.lines += 1;
      if (sort === "resource") tally.resources += 1;
      const counts = tally[sort === "resource" ? "resource" : "line"];
      counts[status] = (counts[status] || 0) + 1;
    }
    tell(fold, seconds) {
      /* Of resources where the task reports them: Ansible's own line says the same once more. */
      const { lines, resources, resource, line } = fold.tally, { failed, changed } = resources ? resource : line;
      const words = [];
      if (failed) words.push(`${failed} failed`);
      if (changed) words.push(`${changed} changed`);
      words.push(`${lines} line${lines > 1 ? "s" : ""}`);
      $("[data-counts]", fold).textContent = words.join(", ");
      if (seconds >= 0) $("[data-time]", fold).textContent = duration(seconds);
    }
    trim() {
      let lines = this.folds.querySelectorAll(".ln").length;
      while (lines > MAX_LINES) {
        const fold = this.folds.firstElementChild, inside = $$(".ln", fold);
        if (lines - inside.length >= MAX_LINES / 2 && fold.nextElementSibling) { fold.remove(); lines -= inside.length; }
        else {
          for (const one of inside.slice(0, lines - MAX_LINES / 2)) { one.remove(); lines -= 1; }
          fold.dataset.begins = "0";
        }
      }
      this.first = Number($(".ln", this.folds)?.dataset.number || this.first);
    }

    /* Further pages of the stored log. */
    async load(direction) {
      if (this.loading || direction === "before" && this.first <= 1) return;
      this.loading = true;
      try {
        const from = direction === "before" ? this.first : this.last;
        const part = $("[data-page]", await fetchPart(`${this.root.dataset.logUrl}?${direction}=${from}`));
        this.localTimes(part);
        if (direction === "before") this.prepend(part); else this.append(part);
      } catch { window.mergeyard?.toast("These lines could not be loaded. Try again."); }
      this.loading = false;
      this.drawEnds();
    }
    prepend(part) {
      if (!Number(part.dataset.first)) { this.first = 1; return; }
      const height = this.body.scrollHeight, top = this.body.scrollTop, folds = $$("[data-fold]", part);
      const oldest = this.folds.firstElementChild, newest = folds[folds.length - 1];
      this.placing = true;
      if (oldest && newest && oldest.dataset.begins === "0" && oldest.dataset.task === newest.dataset.task) {
        $("[data-lines]", oldest).prepend(...$("[data-lines]", newest).children);
        oldest.dataset.begins = newest.dataset.begins;
        folds.pop();
        oldest.tally = this.tallyOf(oldest);
        this.tell(oldest, -1);
      }
      this.folds.prepend(...folds);
      this.first = Number(part.dataset.first);
      this.body.scrollTop = top + this.body.scrollHeight - height;
      setTimeout(() => { this.placing = false; });
    }
    append(part) {
      const folds = $$("[data-fold]", part), last = this.folds.lastElementChild;
      if (last && folds.length && folds[0].dataset.begins === "0" && last.dataset.task === folds[0].dataset.task) {
        const more = folds.shift();
        $("[data-lines]", last).append(...$("[data-lines]", more).children);
        last.tally = this.tallyOf(last);
        this.tell(last, -1);
      }
      this.folds.append(...folds);
      this.last = Math.max(this.last, Number(part.dataset.last));
      if (this.last >= Number(part.dataset.stored)) this.attach();
    }
    /* From here on the stream goes on behind the last line that stands here. */
    attach() {
      this.attached = true; this.unseen = 0;
      this.page.goOnFrom(this.run, this.last);
    }
    async replace(query) {
      const part = $("[data-page]", await fetchPart(`${this.root.dataset.logUrl}?${query}`));
      this.localTimes(part);
      this.placing = true;
      this.pending = [];
      this.folds.replaceChildren(...$$("[data-fold]", part));
      this.first = Number(part.dataset.first); this.last = Number(part.dataset.last);
      if (this.last >= Number(part.dataset.stored)) this.attach(); else this.attached = false;
      setTimeout(() => { this.placing = false; });
    }
    async goToEnd() {
      if (!this.attached) await this.replace("");
      this.unseen = 0;
      this.toEnd();
      this.drawEnds();
    }
    async show(number) {
      if (!this.find(number)) await this.replace(`line=${number}`);
      const line = this.find(number);
      if (!line) return;
      this.mark(line);
      this.reveal(line);
    }
    reveal(line) {
      this.placing = true;
      line.closest("details").open = true;
      this.follows = false;
      this.body.scrollTop += line.getBoundingClientRect().top - this.body.getBoundingClientRect().top - this.body.clientHeight / 3;
      this.drawEnds();
      setTimeout(() => { this.placing = false; });
    }
    find(number) { return document.getElementById(`r${this.run}-l${number}`); }
    mark(line) {
      for (const one of $$(".is-marked", this.folds)) one.classList.remove("is-marked");
      line.classList.add("is-marked");
    }

    /* Search over the whole stored log. */
    setUpSearch() {
      const form = $("[data-find]", this.root), input = $("input", form);
      form.addEventListener("submit", (event) => { event.preventDefault(); this.step(this.found?.words === input.value.trim() ? 1 : 0); });
      input.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); this.step(-1); }
        if (event.key === "Escape") { input.value = ""; this.step(0); }
      });
      input.addEventListener("input", () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.step(0), 300); });
      if (input.value) this.step(0);
    }
    async step(by) {
      const words = $("[data-find] input", this.root).value.trim(), out = $("[data-found]", this.root);
      if (words !== this.found?.words) {
        const lines = words ? await (await fetch(`${this.root.dataset.searchUrl}?q=${encodeURIComponent(words)}`)).json() : { count: 0, lines: [] };
        this.found = { words, ...lines, at: -1 };
        by = 1;
      }
      const { count, lines } = this.found;
      for (const one of $$("[data-next], [data-previous]", this.root)) one.hidden = !count;
      if (!count) { out.textContent = words ? "not found" : ""; CSS.highlights?.delete("found"); return; }
      if (this.found.at < 0) {
        const shown = Number($(".ln", this.folds)?.dataset.number || 0);
        this.found.at = Math.max(lines.findIndex((number) => number >= shown), 0);
      } else this.found.at = (this.found.at + by + lines.length) % lines.length;
      out.textContent = `${this.found.at + 1} of ${count}`;
      await this.show(lines[this.found.at]);
      this.highlight(lines[this.found.at], words);
    }
    highlight(number, words) {
      const line = this.find(number);
      if (!line || !CSS.highlights) return;
      const ranges = [], low = words.toLowerCase();
      const walk = document.createTreeWalker($(".ln-text", line), NodeFilter.SHOW_TEXT);
      for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        for (let at = node.data.toLowerCase().indexOf(low); at >= 0; at = node.data.toLowerCase().indexOf(low, at + low.length)) {
          const range = new Range();
          range.setStart(node, at); range.setEnd(node, Math.min(at + low.length, node.data.length));
          ranges.push(range);
        }
      }
      CSS.highlights.set("found", new Highlight(...ranges));
    }
  }

  /* The page's stream and its live part. */
  class Page {
    constructor(root) {
      this.root = root; this.have = new Map(); this.logs = new Map(); this.pinned = false; this.retry = 1000;
      this.learn(root.dataset.after);
      this.readLogs();
      root.addEventListener("click", (event) => this.clicked(event));
      root.addEventListener("submit", (event) => this.submitted(event));
      for (const sort of ["pointerdown", "keydown"]) root.addEventListener(sort, (event) => { if (event.target.closest("#item")) this.pinned = true; });
      document.addEventListener("visibilitychange", () => document.hidden ? this.close() : this.comeBack());
      addEventListener("pagehide", () => this.close());
      addEventListener("pageshow", (event) => { if (event.persisted) this.comeBack(); });
      addEventListener("popstate", () => this.refresh());
      setInterval(() => this.tick(), 1000);
      if (!document.hidden) this.open();
    }
    learn(text) {
      for (const one of (text || "").split(",").filter(Boolean)) {
        const [run, number] = one.split(":").map(Number);
        if (!this.have.has(run)) this.have.set(run, number);
      }
    }
    readLogs() {
      for (const root of $$("[data-log]", this.root)) {
        const run = Number(root.dataset.run);
        if (this.logs.get(run)?.root !== root) {
          const log = new Log(root, this);
          this.logs.set(run, log);
          if (log.attached) this.goOnFrom(run, log.last);
          if (!log.folds.childElementCount && Number(root.dataset.stored)) log.goToEnd();
        }
      }
      for (const [run, log] of this.logs) if (!log.root.isConnected) this.logs.delete(run);
    }
    /* A log now ends with this line: what is newer must come again, what is older is passed over. */
    goOnFrom(run, number) {
      const had = this.have.get(run) ?? 0;
      this.have.set(run, number);
      if (number < had && this.stream) this.open();
    }
    open() {
      this.close();
      if (document.hidden) return;
      const after = [...this.have].map(([run, number]) => `${run}:${number}`).join(",");
      const query = new URLSearchParams({ rollout: this.root.dataset.rollout, after, seen: this.root.dataset.seen || "" });
      const stream = this.stream = new EventSource(`${this.root.dataset.events}?${query}`);
      stream.addEventListener("open", () => { this.retry = 1000; this.tellLink(""); });
      stream.addEventListener("log", (event) => { if (stream === this.stream) this.take(JSON.parse(event.data)); });
      stream.addEventListener("state", () => { this.refreshSoon(); hint(); });
      stream.addEventListener("end", (event) => {
        const { reason, text } = JSON.parse(event.data);
        this.close();
        if (reason === "slow") this.open(); else { this.ended = true; this.tellLink(text); }
      });
      stream.addEventListener("error", () => {
        if (stream !== this.stream) return;
        this.tellLink("Reconnecting …");
        if (stream.readyState === EventSource.CLOSED) {
          this.askWhy(stream.url);
          this.later = setTimeout(() => this.open(), this.retry);
          this.retry = Math.min(this.retry * 2, 30000);
        }
      });
    }
    /* A refusal has a sentence, which an EventSource does not tell. */
    async askWhy(url) {
      const stop = new AbortController();
      try {
        const answer = await fetch(url, { signal: stop.signal });
        if (answer.status === 403) { const words = await answer.text(); this.ended = true; this.close(); this.tellLink(words.slice(0, 200)); }
      } catch { /* away; it is tried again */ }
      stop.abort();
    }
    close() { clearTimeout(this.later); this.stream?.close(); this.stream = null; }
    tellLink(text) {
      const link = $("[data-live-link]", this.root);
      clearTimeout(this.telling);
      if (!link) return;
      this.telling = setTimeout(() => { link.textContent = text; link.hidden = !text; }, text === "Reconnecting …" ? 2500 : 0);
    }
    take(lines) {
      const fresh = new Map();
      for (const line of lines) {
        const had = this.have.get(line.run) ?? 0;
        if (line.number <= had) continue;
        this.have.set(line.run, line.number);
        if (!fresh.has(line.run)) fresh.set(line.run, []);
        fresh.get(line.run).push(line);
      }
      for (const [run, added] of fresh) {
        this.logs.get(run)?.add(added);
        const latest = $(`[data-latest="${run}"]`, this.root);
        if (latest) latest.textContent = added[added.length - 1].parts.map((part) => part[1]).join("").slice(0, 200);
        else if (!this.logs.has(run)) this.refreshSoon();
      }
    }
    async comeBack() {
      if (this.ended) return;
      hint();
      await this.refresh();
      for (const [run, log] of this.logs) {
        if (log.attached && Number(log.root.dataset.stored) - (this.have.get(run) ?? 0) > FAR) await log.goToEnd();
      }
      this.open();
    }
    refreshSoon() {
      if (this.soon) return;
      this.soon = setTimeout(() => { this.soon = null; this.refresh(); }, 120);
    }
    /* Draw the live part again in place. */
    async refresh() {
      if (!this.root.dataset.url) return;
      if (this.refreshing) { this.again = true; return; }
      this.refreshing = true;
      try {
        const query = new URLSearchParams(location.search), chosen = $("[data-chosen]", this.root)?.dataset.chosen;
        if (this.pinned && !query.has("item") && chosen) query.set("item", chosen);
        const keep = [...this.logs.keys()].pop(), before = this.states();
        const body = await fetchPart(`${this.root.dataset.url}?${query}`, keep ? { "X-Keep-Log": String(keep) } : {});
        const next = $("[data-live]", body);
        const kept = next && keep && $(`#log-${keep}`, next);
        if (kept) this.logs.get(keep).root.dataset.stored = kept.dataset.stored;
        if (next) {
          morphChildren(this.root, next);
          this.root.dataset.state = next.dataset.state;
          this.root.dataset.seen = next.dataset.seen;
          this.readLogs();
          window.mergeyard?.refresh?.(this.root);
          this.announce(before);
        }
      } catch { /* the stream says when the server is back */ }
      this.refreshing = false;
      if (this.again) { this.again = false; this.refreshSoon(); }
    }
    states() { return new Map($$("[data-item] .state", this.root).map((one) => [one.closest("[data-item]").id, one.textContent.trim()])); }
    announce(before) {
      const told = [];
      for (const [id, word] of this.states()) {
        if (before.has(id) && before.get(id) !== word) {
          told.push(`${document.getElementById(id)?.closest("tr")?.querySelector("th")?.textContent.trim() || ""}: ${word}`);
        }
      }
      if (told.length) window.mergeyard?.announce?.(told.slice(0, 3).join(". "));
    }
    async clicked(event) {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      const line = event.target.closest("a[data-line]"), link = event.target.closest("a[data-item]");
      if (line) {
        const run = Number(line.href.match(/#r(\d+)-/)?.[1]);
        if (this.logs.has(run)) {
          event.preventDefault();
          $("#item", this.root)?.scrollIntoView({ block: "start" });
          this.logs.get(run).show(Number(line.dataset.line));
        }
      } else if (link && this.root.dataset.url) {
        event.preventDefault();
        history.pushState(null, "", link.getAttribute("href"));
        await this.refresh();
        const title = $("#item-title", this.root), top = title?.getBoundingClientRect().top ?? 0;
        title?.focus({ preventScroll: true });
        if (top > innerHeight * 0.75 || top < 0) title?.closest("section").scrollIntoView({ block: "start" });
      }
    }
    async submitted(event) {
      const form = event.target.closest("form[data-act]");
      if (!form || event.defaultPrevented) return;
      event.preventDefault();
      const button = event.submitter;
      if (button) button.disabled = true;
      try {
        const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "HX-Request": "true" } });
        const { told } = await answer.json();
        window.mergeyard?.toast(told);
      } catch { window.mergeyard?.toast("That did not reach the server. Try again."); }
      if (button) button.disabled = false;
      this.refresh();
    }
    tick() {
      for (const one of $$("[data-since]", this.root)) one.textContent = running((Date.now() - Date.parse(one.dataset.since)) / 1000);
    }
  }

  /* Before the rollout of a merge is there, a page may hold data-live-wait in its place. */
  async function awaitRollout(place) {
    for (let tries = 0; place.isConnected; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, document.hidden || tries > 40 ? 5000 : 700));
      try {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html").body, root = $("[data-live]", page);
        if (!root) continue;
        place.replaceWith(root);
        const live = window.mergeyardLive = new Page(root);
        window.mergeyard?.refresh?.(root);
        window.mergeyard?.announce?.("The rollout has begun.");
        listening?.abort();
        hint();
        return;
      } catch { /* away; it is tried again */ }
    }
  }

  /* A page without a rollout of its own hears of all of them, if it has parts that look again. */
  function listen() {
    const stop = new AbortController();
    let stream = null, again;
    const close = () => { clearTimeout(again); stream?.close(); stream = null; };
    const open = () => {
      close();
      if (document.hidden || stop.signal.aborted) return;
      stream = new EventSource(document.body.dataset.events);
      stream.addEventListener("state", hint);
      stream.addEventListener("end", close);
      stream.addEventListener("error", () => { if (stream?.readyState === EventSource.CLOSED) again = setTimeout(open, 30000); });
    };
    const come = () => { open(); if (!document.hidden) hint(); };
    document.addEventListener("visibilitychange", come, { signal: stop.signal });
    addEventListener("pagehide", close, { signal: stop.signal });
    addEventListener("pageshow", (event) => { if (event.persisted) come(); }, { signal: stop.signal });
    stop.signal.addEventListener("abort", close);
    open();
    return stop;
  }

  const root = $("[data-live]"), place = $("[data-live-wait]");
  let listening = null;
  if (root) window.mergeyardLive = new Page(root);
  else if (document.body.dataset.events && $("[hx-trigger*='mergeyard:hint']")) listening = listen();
  if (place) awaitRollout(place);
})();
