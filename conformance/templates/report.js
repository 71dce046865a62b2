// SPDX-License-Identifier: MIT
// The address' hash is the whole state: #view=cases&backend=dma_direct&rule=DMA-23. Every control writes it, and
// nothing is drawn but from it.
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const S = D.strings, C = D.cases, N = C.verdict.length;
const GLYPHS = {
  crashed: "‼", timeout: "∞", broken: "!", fail: "✗", known: "≈", waived: "~", pass: "✓", "not-tested": "?",
  "not-applicable": "–",
  native: "●", fallback: "◐", refused: "⊘", unsafe: "▲", absent: "–", supported: "○",
};
const RULES = new Map(D.rules.map(r => [r.id, r])), BACKENDS = new Map(D.backends.map(b => [b.id, b]));
const RANK = new Map(D.verdicts.map((v, i) => [v.id, i]));
const FILTERS = ["backend", "rule", "verdict", "proof", "api", "q", "case"];
const PAGE = 150;

// ---- the page's parts ----
function h(tag, attrs, ...kids) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attrs || {}))
    if (key === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  made.append(...kids.flat(3).filter(kid => kid !== null && kid !== undefined && kid !== ""));
  return made;
}
function svg(tag, attrs, ...kids) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attrs)) made.setAttribute(key, value);
  made.append(...kids);
  return made;
}
const breakable = name => name.split(/(?<=_)/).flatMap((part, i) => i ? [h("wbr"), part] : [part]);
const word = id => D.verdicts[RANK.get(id)].word;
const mark = (id, more) => h("span.v." + id, {}, GLYPHS[id] + " " + word(id) + (more ? " " + more : ""));
const table = (head, rows, kind) => h("div.scroll", {}, h("table" + (kind || ""), {},
  h("thead", {}, h("tr", {}, head.map((one, i) => typeof one === "string" ? h("th", {scope: "col"}, one) : one))),
  h("tbody", {}, rows)));
const count = (n, noun) => n.toLocaleString("en") + " " + noun + (n === 1 ? "" : "s");
const of = (column, row) => S[C[column][row]];
const caseId = row => ["what", "backend", "machine", "api"].map(name => of(name, row)).join(":");

// ---- state ----
function read() {
  const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (!VIEWS.has(state.view)) state.view =
    ["rule", "verdict", "q", "case"].some(key => state[key]) ? "cases" : "matrix";
  return state;
}
function link(state, changes) {
  const next = {...state, ...changes};
  const words = new URLSearchParams();
  for (const key of ["view", ...FILTERS]) if (next[key]) words.set(key, next[key]);
  return "#" + words.toString().replaceAll("%3A", ":").replaceAll("%2F", "/");
}
const group = what => what.startsWith("route/") ? "routes" : RULES.get(what)?.group ?? "";
const family = what => what.startsWith("route/") ? "routes" : RULES.get(what)?.family ?? "";

function matches(state) {
  const q = (state.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const rule = state.rule, verdict = state.verdict, apis = state.api;
  const texts = new Map();
  const has = (text, part) => {
    let known = texts.get(part);
    if (!known) texts.set(part, known = S.map(one => one.toLowerCase().includes(part)));
    return known[text];
  };
  const ruled = S.map(what => !rule || what === rule || group(what) === rule || family(what) + " " + group(what) === rule);
  const backed = S.map(name => (!state.backend || name === state.backend)
    && (!state.proof || BACKENDS.get(name)?.proof === state.proof));
  const verdicts = D.verdicts.map(one => !verdict || one.id === verdict || (verdict === "bad" && one.bad)
    || (verdict === "observed" && one.observed));
  const rows = [];
  for (let i = 0; i < N; i++)
    if (verdicts[C.verdict[i]] && ruled[C.what[i]] && backed[C.backend[i]] && (!apis || of("api", i) === apis)
        && q.every(part => ["what", "backend", "machine", "detail", "mechanism"].some(name => has(C[name][i], part))
          || (RULES.get(of("what", i))?.text.toLowerCase().includes(part) ?? false))
        && (!state.case || caseId(i) === state.case))
      rows.push(i);
  return rows;
}
function shownBackends(state) {
  return D.backends.filter(b => (!state.backend || b.id === state.backend) && (!state.proof || b.proof === state.proof));
}

// ---- views ----
function tally(rows) {
  const counts = D.verdicts.map(() => 0);
  for (const row of rows) counts[C.verdict[row]]++;
  return counts;
}
function headline(counts) {
  const worst = counts.findIndex(n => n > 0);
  return worst < 0 ? null : D.verdicts[worst];
}
function backendHead(state, b) {
  return h("th", {scope: "row"}, h("a", {href: link(state, {view: "cases", backend: b.id}), title: b.summary || ""}, breakable(b.id)));
}
function matrixView(state) {
  const rows = matches(state), parts = [];
  for (const [prefix, title] of Object.entries(D.families)) {
    const groups = [...new Set(D.rules.filter(r => r.family === prefix).map(r => r.group))];
    const cells = new Map(), seen = new Set();
    for (const row of rows) {
      const what = of("what", row);
      if (family(what) !== prefix) continue;
      const key = of("backend", row) + " " + group(what);
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(row);
      if (D.verdicts[C.verdict[row]].observed || state.verdict) seen.add(group(what));
    }
    const shown = groups.filter(name => seen.has(name));
    if (!shown.length) continue;
    parts.push(h("h2", {}, title), table(["backend", "proof", ...shown.map(name =>
      RULES.has(name) ? h("th", {scope: "col", title: RULES.get(name).text}, name) : name)], shownBackends(state).map(b => h("tr", {},
      backendHead(state, b), h("td", {}, b.proof), shown.map(name => {
        const found = cells.get(b.id + " " + name) || [];
        if (!found.length) return h("td.cell", {}, h("span.soft", {}, "·"));
        const counts = tally(found), top = headline(counts), n = counts[RANK.get(top.id)];
        const label = GLYPHS[top.id] + " " + top.word + (top.bad || top.id === "known" || top.id === "waived" ? " " + n : "");
        const full = D.verdicts.map((v, i) => counts[i] ? counts[i] + " " + v.id : "").filter(Boolean).join(", ");
        return h("td.cell", {}, h("a." + top.id, {
          href: link(state, {view: "cases", backend: b.id, rule: RULES.has(name) ? name : prefix + " " + name}),
          title: full, "aria-label": `${b.id}, ${name}: ${full}`,
        }, label));
      }))), D.driver ? ".grid.tight" : ".grid"));
  }
  if (!parts.length) parts.push(h("p", {}, "No case fits these filters."));
  parts.push(h("p.note", {}, "A cell says the worst that came of its cases, and for what is not good, of how many. ",
    "Follow it to the cases; arrow keys move between cells. Proof: recorded, compared with runs of real kernels; ",
    "compiled, with Linux's own C; read, by reading only."));
  return parts;
}

function twoLayers(row) {
  const policy = of("policy", row), mechanism = of("mechanism", row), detail = of("detail", row);
  const verdict = D.verdicts[C.verdict[row]];
  if (!mechanism) return h("td.two", {}, h("div", {}, mark(verdict.id), h("small", {}, detail)));
  const said = mechanism === "absent" ? "" : detail;
  return h("td.two", {},
    h("div.policy." + policy, {}, GLYPHS[policy] + " policy: " + policy),
    h("div." + mechanism, {}, GLYPHS[mechanism] + " " + (mechanism === "unsafe" ? "UNSAFE" : mechanism),
      said && said.length < 60 ? h("small", {}, said) : said ? h("small", {title: said}, said.slice(0, 57) + "…") : ""));
}
function p2pView(state) {
  const design = state.api || "legacy", machines = new Map();
  for (const row of matches({...state, api: "", rule: "", case: ""})) {
    const what = of("what", row), api = of("api", row);
    if (!what.startsWith("route/") || (design !== "all" && api !== design)) continue;
    const key = [of("backend", row), of("machine", row), api].join("\n");
    if (!machines.has(key)) machines.set(key, {backend: of("backend", row), machine: of("machine", row), api, rows: {}});
    machines.get(key).rows[what.slice(6)] = row;
  }
  const alike = new Map();
  for (const one of machines.values()) {
    const cells = D.routes.map(route => route in one.rows
      ? ["policy", "mechanism", "detail", "verdict"].map(name => C[name][one.rows[route]]).join() : "");
    const key = [one.backend, one.api, ...cells].join("|");
    if (!alike.has(key)) alike.set(key, {...one, machines: []});
    alike.get(key).machines.push(one.machine);
  }
  const groups = [...alike.values()].sort((a, b) => a.backend.localeCompare(b.backend));
  let last = "";
  const rows = groups.map(one => {
    const first = one.backend !== last;
    last = one.backend;
    return h("tr" + (first ? ".first" : ""), {}, h("th", {scope: "row"},
      h("a", {href: link(state, {view: "cases", backend: one.backend, rule: "routes", api: one.api})}, breakable(one.backend))),
      design === "all" ? h("td", {}, one.api) : "", h("td", {}, machineNames(one.machines)),
      D.routes.map(route => route in one.rows ? twoLayers(one.rows[route]) : h("td", {}, "·")));
  });
  return [
    h("h2", {}, "P2P routes: policy above mechanism"),
    h("p.note", {}, "Policy is what dma_pci_p2pdma_supported() tells a driver before it tries; mechanism is what happens if such ",
      "memory arrives all the same. ", h("b", {}, "⊘ refused"), " is an answer: an errno, and nothing was touched. ",
      h("b", {}, "▲ UNSAFE"), " is silence: mapped to what does not lead to the peer. Machines of a backend with the same ",
      "outcomes share a row."),
    h("p.links", {}, "Design: ", [["all", "all five"], ...Object.entries(D.designs)].map(([name, what]) =>
      h("a", {href: link(state, {view: "p2p", api: name}), "aria-current": design === name, title: what},
        design === name ? h("b", {}, "[" + name + "]") : name))),
    D.designs[design] ? h("p.note", {}, design + ": " + D.designs[design]) : "",
    rows.length ? table(["backend", ...(design === "all" ? ["design"] : []), "machines", ...D.routes], rows) : h("p", {}, "No route fits these filters."),
  ];
}
function machineNames(names) {
  if (names.length <= 3) return names.join(", ");
  return h("details", {}, h("summary", {}, `${names[0]} and ${names.length - 1} more`), names.slice(1).join(", "));
}
function designsView() {
  const {designs, rows} = D.candidates;
  return [h("h2", {}, "What each design costs, and where a bug would hide"),
    table(["", ...designs], rows.map(([question, ...answers]) => h("tr", {},
      h("th", {scope: "row"}, question), answers.map(answer => h("td", {}, answer)))), ".wrap")];
}

function casesView(state) {
  const found = new Map();
  for (const row of matches(state)) {
    const key = [C.verdict[row], C.what[row], C.backend[row], C.detail[row], C.api[row], C.mechanism[row]].join();
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(row);
  }
  const groups = [...found.values()].sort((a, b) => C.verdict[a[0]] - C.verdict[b[0]] || a[0] - b[0]);
  const total = groups.reduce((sum, rows) => sum + rows.length, 0);
  const list = h("div", {id: "cases"});
  let next = 0;
  const more = h("button.more", {type: "button", on: {click: () => add(PAGE)}});
  function add(n) {
    for (const rows of groups.slice(next, next + n)) list.append(caseGroup(state, rows));
    next = Math.min(next + n, groups.length);
    more.textContent = `Show ${Math.min(PAGE, groups.length - next)} more of ${groups.length - next}`;
    more.hidden = next >= groups.length;
  }
  add(PAGE);
  if (state.case && list.firstChild) list.firstChild.open = true;
  return [h("h2", {}, count(total, "case")), h("p.links", {}, tallyLinks(state, groups.flat())), list, h("p", {}, more)];
}
function tallyLinks(state, rows) {
  return tally(rows).map((n, i) => n ? h("a.v." + D.verdicts[i].id, {
    href: link(state, {view: "cases", verdict: D.verdicts[i].id}),
  }, `${GLYPHS[D.verdicts[i].id]} ${n.toLocaleString("en")} ${D.verdicts[i].id}`) : "");
}
function caseGroup(state, rows) {
  const row = rows[0], verdict = D.verdicts[C.verdict[row]], what = of("what", row), api = of("api", row);
  const more = rows.length > 1 ? ` +${rows.length - 1}` : "";
  const outcome = of("mechanism", row) ? `${of("policy", row)} / ${of("mechanism", row)}` : "";
  const details = h("details.case", {}, h("summary", {}, mark(verdict.id), h("span.rule", {}, what + (api !== "legacy" ? ` (${api})` : "")),
    h("span.where", {}, of("backend", row), " ", h("span.soft", {}, of("machine", row) + more)),
    h("span.said", {}, [outcome, of("detail", row)].filter(Boolean).join(": ") || RULES.get(what)?.text || "")));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length < 2) details.append(drill(state, rows));
  });
  return details;
}
function copied(text) {
  const button = h("button", {type: "button", on: {click: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { button.textContent = "not allowed"; }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }}}, "copy");
  return h("div.copy", {}, h("pre", {}, text), button);
}
function drill(state, rows) {
  const timed = rows.find(row => caseId(row) in D.timelines);
  const row = timed ?? rows[0], id = caseId(row), rule = RULES.get(of("what", row)), backend = BACKENDS.get(of("backend", row));
  const facts = [];
  const fact = (name, ...value) => { if (value.some(Boolean)) facts.push(h("dt", {}, name), h("dd", {}, ...value)); };
  if (rule) {
    fact("rule", [rule.id, rule.level, D.driver ? "" : rule.group].filter(Boolean).join(", ") + ": " + rule.text);
    fact("source", rule.source);
    fact("applies if", rule.applies);
    fact("observed", rule.observe);
    fact("check", Object.entries(rule.checks).filter(([name]) => !of("check", row) || name === of("check", row))
      .map(([name, said]) => h("div", {}, h("code", {}, name), said ? ": " + said : "")));
  } else fact("design", D.designs[of("api", row)]);
  fact("verdict", D.verdicts[C.verdict[row]].id);
  fact("seen", of("detail", row));
  fact("policy", of("policy", row));
  fact("mechanism", of("mechanism", row));
  const cost = C.cost[row];
  if (cost) fact("cost", Object.entries(cost).map(([name, n]) => n.toLocaleString("en") + " " + name).join(", "));
  fact("backend", `${backend.id} (${backend.proof}): ${backend.summary || "not installed where this page was written"}`);
  fact("walker", backend.walker);
  fact("machine", of("machine", row) + (backend.machines?.[of("machine", row)] ? ": " + backend.machines[of("machine", row)] : ""));
  for (const known of backend.known || [])
    if (known.rules.includes(of("what", row)) && (!known.machines.length || rows.some(one => known.machines.includes(of("machine", one)))))
      fact("known fault", known.what, h("div.soft", {}, known.source,
        known.machines.length ? "; on " + known.machines.join(", ") : ""));
  fact(rows.length > 1 ? count(rows.length, "case") : "permalink", h("span.links", {}, rows.map(one =>
    h("a", {href: link({}, {case: caseId(one)})}, rows.length > 1 ? of("machine", one) : caseId(one)))));
  const parts = [h("dl", {}, facts)];
  if (D.verdicts[C.verdict[row]].observed || of("mechanism", row)) {
    const explain = `dma-conformance explain ${id} ${D.again[backend.id]}`.trim();
    parts.push(h("h3", {}, "Run it again"), copied(explain));
    if (!D.driver) parts.push(h("details", {}, h("summary", {}, "as a pytest node, a Python script, C, a picture"),
      ["pytest", "python > case.py", "c > case.c", "svg > case.svg"].map(form => copied(`${explain} --form ${form}`))));
  }
  const timeline = D.timelines[id];
  if (timeline?.steps) parts.push(h("h3", {}, "What came before"), h("pre.steps", {tabindex: 0}, timeline.steps));
  if (timeline?.svg) {
    const picture = h("div.picture", {tabindex: 0, role: "region", "aria-label": "timeline"});
    picture.innerHTML = timeline.svg;
    parts.push(h("h3", {}, `Timeline on ${of("machine", row)}`), picture);
    for (const [name, title] of [["python", "Python script"], ["c", "C for the drop-in's headers"]])
      if (timeline[name]) parts.push(h("details", {}, h("summary", {}, title), copied(timeline[name])));
  }
  return h("div.drill", {}, parts);
}

function killsView(state) {
  const K = D.kills, part = K.score.planted ? 100 * K.score.killed / K.score.planted : 0;
  const bar = (killed, planted) => [h("span.bar", {"aria-hidden": "true"},
    h("i", {style: `width:${planted ? 100 * killed / planted : 0}%`})), ` ${killed}/${planted}`];
  const killers = new Map(Object.keys(K.saboteurs).map(name => [name, []]));
  for (const [rule, by] of Object.entries(K.rules))
    for (const [name, targets] of Object.entries(by)) killers.get(name)?.push([rule, targets]);
  const q = (state.q || "").toLowerCase(), fits = text => !q || text.toLowerCase().includes(q);
  const on = targets => !state.backend || targets.some(target => target.split("/")[0] === state.backend);
  const shapes = [...new Set(Object.values(K.shapes).flatMap(Object.keys))];
  const parts = [h("h2", {}, "Detection score"),
    h("p", {}, h("span.score", {}, part.toFixed(1) + " %"), ` ${K.score.killed} of ${K.score.planted} planted saboteurs killed, `,
      `${killers.size} kinds in ${Object.keys(K.backends).length} backends`,
      K.other_rules ? "; by other rules than those of this run" : ""),
    h("p.note", {}, "A saboteur is a bug put into a backend on purpose. A rule kills it if the backend's verdict under the rule is ",
      "worse with the bug than without."),
    K.survivors.length ? [h("h3", {}, `${K.survivors.length} survive`), h("ul", {}, K.survivors.map(one =>
      h("li", {}, mark("fail"), ` ${one.saboteur} in ${one.target}: ${K.saboteurs[one.saboteur]?.what ?? ""}`)))] : "",
    K.missed.length ? h("p", {}, "Not seen by the rule that it breaks: ", K.missed.map(one => `${one.saboteur} (${one.rule})`).join(", ")) : "",
    K.idle.length ? h("p", {}, "Rules that kill nothing: ", K.idle.join(", ")) : ""];
  if (shapes.length) parts.push(h("h3", {}, "Systematic saboteurs: killed of planted"),
    table(["backend", ...shapes], Object.entries(K.shapes).filter(([name]) => !state.backend || name === state.backend)
      .map(([name, of]) => h("tr", {}, h("th", {scope: "row"}, name), shapes.map(shape => {
        const cell = of[shape];
        if (!Array.isArray(cell) || !cell[1]) return h("td.soft", {title: cell || ""}, "– none");
        return h("td", {}, h("span.v." + (cell[0] === cell[1] ? "pass" : "fail"), {},
          `${cell[0] === cell[1] ? GLYPHS.pass : GLYPHS.fail} ${cell[0]}/${cell[1]}`));
      }))))); else parts.push(h("h3", {}, "By backend"), table(["backend", "killed of planted"],
    Object.entries(K.backends).map(([name, [a, b]]) => h("tr", {}, h("th", {scope: "row"}, name), h("td", {}, bar(a, b))))));
  parts.push(h("h3", {}, "What each rule kills"), table(["rule", "kills", "saboteurs (backends)"],
    Object.entries(K.rules).filter(([rule, by]) => (!state.rule || state.rule === rule) && Object.values(by).some(on) && fits(rule + Object.keys(by)))
      .map(([rule, by]) => h("tr", {}, h("th", {scope: "row"}, h("a", {href: link({}, {view: "cases", rule})}, rule)),
        h("td.num", {}, String(Object.values(by).reduce((n, targets) => n + targets.length, 0))),
        h("td", {}, Object.entries(by).map(([name, targets]) => `${name} (${targets.length})`).join(", "))))));
  parts.push(h("h3", {}, "What kills each saboteur"), table(["saboteur", "the bug", "origin", "killed by (times)"],
    Object.entries(K.saboteurs).filter(([name, one]) => on(one.targets) && fits(name + " " + one.what)).map(([name, one]) => h("tr", {},
      h("th", {scope: "row"}, name), h("td", {}, one.what), h("td", {}, one.bug ? `${one.bug} ${one.commit}` : ""),
      h("td", {}, killers.get(name).length ? killers.get(name).map(([rule, targets]) => `${rule} (${targets.length})`).join(", ")
        : mark("fail", "none"))))));
  if (K.left_out.length) parts.push(h("h3", {}, "Historical bugs that are left out"), h("ul", {}, K.left_out.map(one =>
    h("li", {}, h("b", {}, one.id), `: ${one.what} (${one.why})`))));
  return parts;
}

function diffView(state) {
  const F = D.diff, said = side => side ? [mark(side.verdict), side.mechanism ? ` ${side.policy} / ${side.mechanism}` : "",
    side.detail ? h("div.soft", {}, side.detail) : ""] : h("span.soft", {}, "none");
  const fits = one => {
    const [what, backend] = one.case.split(":");
    return (!state.backend || state.backend === backend) && (!state.proof || BACKENDS.get(backend)?.proof === state.proof)
      && (!state.rule || what === state.rule || group(what) === state.rule || family(what) + " " + group(what) === state.rule)
      && (!state.verdict || [one.old, one.new].some(side => side?.verdict === state.verdict))
      && (!state.q || JSON.stringify(one).toLowerCase().includes(state.q.toLowerCase()));
  };
  const parts = [h("h2", {}, "Against the older run"),
    F.headers.map(note => h("p.note", {}, note)),
    h("p", {}, Object.entries(F.counts).map(([kind, n]) => `${n} ${kind}`).join(", "))];
  const glyph = {worse: "✗", better: "✓", changed: "≈", new: "+", gone: "−"};
  const colour = {worse: "fail", better: "pass", changed: "known", new: "fallback", gone: "not-tested"};
  for (const kind of Object.keys(F.counts)) {
    const found = F.changes.filter(one => one.kind === kind && fits(one));
    if (!found.length) continue;
    const shown = found.slice(0, 500);
    parts.push(h("h3", {}, h("span.v." + colour[kind], {}, `${glyph[kind]} ${found.length} ${kind}`)),
      table(["case", "was", "is"], shown.map(one => h("tr", {}, h("th", {scope: "row"},
        one.new ? h("a", {href: link({}, {case: one.case})}, one.case) : one.case),
      h("td", {}, said(one.old)), h("td", {}, said(one.new)))), ".wrap"),
      found.length > shown.length ? h("p.note", {}, `and ${found.length - shown.length} more; narrow the filters`) : "");
  }
  return parts;
}

function size(n) {
  for (const unit of ["", " KiB", " MiB", " GiB", " TiB", " PiB"]) {
    if (n < 1024 || unit === " PiB") return (n < 10 && unit ? n.toFixed(1) : Math.round(n).toLocaleString("en")) + unit;
    n /= 1024;
  }
}
function plot(series, name, title, show) {
  const W = 320, H = 110, L = 4, B = 16, T = 14, start = series[0].time, span = series.at(-1).time - start || 1;
  const top = Math.max(...series.map(one => one[name])) || 1;
  const x = one => L + (W - 2 * L) * (one.time - start) / span, y = one => T + (H - T - B) * (1 - one[name] / top);
  let d = "";
  series.forEach((one, i) => { d += (i ? `H${x(one).toFixed(1)}V` : `M${x(one).toFixed(1)},`) + y(one).toFixed(1); });
  const label = (at, dy, anchor, text) => svg("text", {x: at, y: dy, class: "plot-text", "text-anchor": anchor}, text);
  const peak = Math.max(...series.map(one => one[name]));
  return h("figure", {}, svg("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}: at most ${show(peak)}`},
    svg("path", {class: "plot-area", d: `${d}V${H - B}H${L}Z`}), svg("path", {class: "plot-line", d}),
    svg("line", {class: "plot-axis", x1: L, x2: W - L, y1: H - B, y2: H - B}),
    label(L, 10, "start", "max " + show(peak)), label(L, H - 4, "start", "0 s"), label(W - L, H - 4, "end", span.toFixed(2) + " s")),
  h("figcaption", {}, title));
}
function traceView(state) {
  const T = D.trace, events = Object.values(T.input.events).reduce((a, b) => a + b, 0), number = n => n.toLocaleString("en");
  const parts = [h("h2", {}, "Trace of a real kernel"),
    h("p", {}, `${T.file.split("/").at(-1)}: ${count(events, "dma:* event")} of ${count(T.devices.length, "device")} (${T.devices.join(", ")}) in ${T.input.seconds.toFixed(3)} s`),
    h("h3", {}, "What is found in the driver")];
  if (!T.check.findings.length) parts.push(h("p", {}, mark("pass"), " no findings; ", count(T.check.mapped_at_end, "mapping"), " live at the end"));
  else parts.push(h("p", {}, Object.entries(T.check.counts).map(([kind, n]) => `${n} × ${kind}`).join(", ")),
    table(["line", "finding", "function", "device", "what"], T.check.findings.slice(0, 300).map(one => h("tr", {},
      h("td.num", {}, String(one.line)), h("td", {}, mark("fail", one.kind)), h("td", {}, one.function), h("td", {}, one.device),
      h("td", {}, one.text, one.certain ? "" : " (uncertain: events are missing)")))));
  const replays = T.replays.filter(one => !state.backend || one.backend === state.backend);
  if (replays.length) parts.push(h("h3", {}, "The same work on other machines"), table(
    ["backend", "machine", "maps", "segments", "bounced", "peak", "largest hole", "flushes", "result"], replays.map(one => {
      const failed = Object.entries(one.failures).map(([name, n]) => `${name} ${n}`).join(", ");
      return h("tr", {}, h("th", {scope: "row"}, one.backend), h("td", {}, one.machine), h("td.num", {}, number(one.maps)),
        h("td.num", {}, number(one.segments)), h("td.num", {}, size(one.bounced_bytes)), h("td.num", {}, size(one.peak_bytes)),
        h("td.num", {}, size(one.largest_hole)), h("td.num", {}, one.flushes === null ? "–" : number(one.flushes)),
        h("td", {}, one.reason || failed ? mark("known", "") : mark("pass"), " ", [one.reason, failed].filter(Boolean).join("; ")));
    })));
  for (const one of replays) if (one.series.length > 1) parts.push(h("h3", {}, `${one.backend} on ${one.machine}`), h("div.plots", {},
    plot(one.series, "bytes", "bytes mapped", size), plot(one.series, "ranges", "bus address ranges", number),
    plot(one.series, "largest_hole", "largest hole between them", size),
    one.series.some(s => s.bounce_slots) ? plot(one.series, "bounce_slots", "bounce slots in use", number) : "",
    one.series.some(s => s.failed) ? plot(one.series, "failed", "failed mappings so far", number) : ""));
  return parts;
}

const VIEWS = new Map([
  ["matrix", ["Matrix", matrixView]],
  ["cases", ["Cases", casesView]],
  ...(D.strings.some(one => one.startsWith("route/")) ? [["p2p", ["P2P routes", p2pView]]] : []),
  ...(D.candidates ? [["designs", ["Designs", designsView]]] : []),
  ...(D.kills ? [["kills", ["Kill matrix", killsView]]] : []),
  ...(D.diff ? [["diff", ["Diff", diffView]]] : []),
  ...(D.trace ? [["trace", ["Trace", traceView]]] : []),
]);

// Which filters a view heeds, if not all.
const HEEDS = {p2p: ["backend", "verdict", "proof", "q"], designs: [], kills: ["backend", "rule", "q"], trace: ["backend"]};

// ---- the frame ----
const form = document.getElementById("filters");
function select(name, title, options) {
  return h("label", {}, title, h("select", {name}, h("option", {value: ""}, "all"),
    options.map(one => Array.isArray(one) ? h("option", {value: one[0]}, one[1]) : h("option", {value: one}, one))));
}
function frame() {
  const groups = [...new Set(D.rules.map(r => r.family + " " + r.group))];
  form.append(
    select("backend", "backend", D.backends.map(b => b.id)),
    h("label", {}, "rule", h("select", {name: "rule"}, h("option", {value: ""}, "all"),
      D.driver ? "" : h("optgroup", {label: "groups"}, [...groups, "routes"].map(name => h("option", {value: name}, name))),
      h("optgroup", {label: "rules"}, [...D.rules.map(r => r.id), ...(D.driver ? [] : D.routes.map(name => "route/" + name))]
        .map(id => h("option", {value: id}, id))))),
    D.driver ? select("api", "API", ["legacy", "new"]) : "",
    select("verdict", "verdict", [["bad", "any failure"], ["observed", "any judgement"],
      ...D.verdicts.map(v => [v.id, GLYPHS[v.id] + " " + v.id])]),
    select("proof", "proof", [...new Set(D.backends.map(b => b.proof))]),
    h("label", {}, "text (press /)", h("input", {name: "q", type: "search", autocomplete: "off", spellcheck: "false"})),
    h("button", {type: "button", id: "clear", on: {click: () => { location.hash = link({}, {view: read().view}); }}}, "clear"));
  form.addEventListener("submit", event => event.preventDefault());
  let timer = 0;
  form.addEventListener("input", event => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const state = read();
      history.replaceState(null, "", link(state, {[event.target.name]: event.target.value, case: ""}));
      draw();
    }, event.target.name === "q" ? 160 : 0);
  });
  const shard = D.head.shard[1] > 1 ? `, shard ${D.head.shard.join("/")}` : "";
  const driver = D.driver ? `driver ${D.driver.name} (${[...D.driver.files, D.driver.cflags].filter(Boolean).join(" ")}), ` : "";
  document.getElementById("run").textContent = driver + `profile ${D.head.profile}, seed ${D.head.seed}${shard}; Python ${D.head.python} on `
    + `${D.head.platform}; ${count(D.backends.length, "backend")}, ${count(D.rules.length, "rule")}, ${count(N, "case")}`;
  document.getElementById("closing").append(...D.closing.map(line => h("div", {}, line)));
  document.getElementById("tally").after(...D.closing.slice(1).map(line => h("p.bad", {}, "✗ " + line)));
}
function draw() {
  const state = read(), main = document.getElementById("main");
  for (const control of form.elements) if (control.name) {
    if (document.activeElement !== control || control.tagName === "SELECT") control.value = state[control.name] || "";
    control.parentElement.classList.toggle("filtered", Boolean(state[control.name]));
    control.parentElement.hidden = HEEDS[state.view] && !HEEDS[state.view].includes(control.name);
  }
  document.getElementById("views").replaceChildren(...[...VIEWS].map(([id, [title]]) =>
    h("a", {href: link(state, {view: id, case: ""}), "aria-current": id === state.view ? "page" : null}, title)));
  document.getElementById("tally").replaceChildren(h("span.v." + (D.good ? "pass" : "fail"), {}, D.good ? "✓ as expected" : "✗ not as expected"),
    " ", ...tallyLinks({}, Array.from({length: N}, (_, i) => i)).filter(Boolean).flatMap(one => [one, " "]),
    D.kills ? h("a", {href: "#view=kills"}, `detection ${(100 * D.kills.score.killed / (D.kills.score.planted || 1)).toFixed(1)} %`) : "");
  form.hidden = HEEDS[state.view]?.length === 0;
  main.replaceChildren(...VIEWS.get(state.view)[1](state).flat(3).filter(Boolean));
  document.body.dataset.view = state.view;
}

// ---- theme and keys ----
const themes = ["system", "light", "dark"], themeButton = document.getElementById("theme");
function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  themeButton.textContent = "theme: " + name;
  try { localStorage.setItem("dma-theme", name); } catch { /* a file may have no storage */ }
}
themeButton.addEventListener("click", () => {
  setTheme(themes[(themes.indexOf(themeButton.textContent.slice(7)) + 1) % themes.length]);
});
let stored = null;
try { stored = localStorage.getItem("dma-theme"); } catch { /* see above */ }
if (themes.includes(stored)) setTheme(stored);
document.getElementById("skip").addEventListener("click", event => {
  event.preventDefault();
  document.getElementById("main").focus();
});
document.addEventListener("keydown", event => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    form.elements.q.focus();
  }
  const cell = event.target.closest?.("table.grid td, table.grid th");
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  if (!cell || typing || !(event.key in steps)) return;
  const [dx, dy] = steps[event.key], rows = [...cell.closest("tbody").rows];
  let y = rows.indexOf(cell.parentElement) + dy, x = cell.cellIndex + dx;
  for (; rows[y]?.cells[x]; x += dx, y += dy) {
    const to = rows[y].cells[x].querySelector("a");
    if (to) { event.preventDefault(); to.focus(); break; }
  }
});
window.addEventListener("hashchange", draw);
frame();
draw();
