'use strict';
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat('en');
const count = (n) => (n == null ? '–' : number.format(n));
const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB') + '.' + String(Math.floor(ms % 1000)).padStart(3, '0');
function time(ms) {
  if (ms == null) return '–';
  if (ms < 1000) return count(ms) + ' ms';
  if (ms < 60000) return (ms / 1000).toFixed(1) + ' s';
  return Math.floor(ms / 60000) + ' min ' + Math.floor((ms % 60000) / 1000) + ' s';
}
function set(node, text) { if (node.textContent !== text) node.textContent = text; }
function make(tag, kind, text) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text != null) node.textContent = text;
  return node;
}
// Makes of a node's children what is wanted, and leaves alone what is as it should be: focus, selection and screen readers stay where they are.
function fill(parent, items, create, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, i) => {
    if (!parent.children[i]) parent.append(create(item));
    update(parent.children[i], item);
  });
}
function table(body, rows) {
  fill(body, rows, (cells) => { const row = make('tr'); cells.forEach((_, i) => row.append(make('td'))); return row; }, (row, cells) => {
    cells.forEach((cell, i) => {
      const [value, kind] = Array.isArray(cell) ? cell : [cell, ''];
      const node = row.children[i];
      if (node.className !== (kind || '')) node.className = kind || '';
      if (value instanceof Node) node.replaceChildren(value);
      else set(node, String(value));
    });
  });
}

const state = { rows: new Map(), recent: new Map(), chosen: null, source: '', period: 1000, paused: false, unit: 1, cursor: null, count: 0 };
const PHASES = { Ready: ['good', '● Ready'], Degraded: ['warn', '◐ Degraded'], FailingOver: ['warn', '◑ Failing over'], Creating: ['quiet', '○ Creating'], Down: ['bad', '✕ Down'] };
const DIGESTS = { same: ['all the same', 'good'], moving: ['moving', ''], differ: ['✕ DIFFER', 'bad'], unknown: ['not known', 'quiet'] };
const SOURCES = {
  local: 'processes on this machine',
  operator: 'as the operator hears it',
  standsBy: 'this operator stands by: lag as the acting one last wrote it, which may be 30 s ago',
};

function hello(all) {
  state.source = all.source;
  state.period = all.periodMs;
  state.count = all.count;
  state.rows = new Map(all.rows.map((row) => [row.store, row]));
  state.recent = new Map(all.rows.map((row) => [row.store, row.recent]));
  const detail = all.chosen && all.chosen.detail;
  state.chosen = detail && {
    name: detail.store, status: detail.status, differ: detail.differ, leftOut: detail.leftOut || 0, events: all.chosen.events,
    times: all.chosen.history.times, lines: new Map(all.chosen.history.lines.map((line) => [line.name, line.points])),
  };
  set($('source'), `${SOURCES[all.source]} · ${all.version}`);
  if (state.chosen) document.title = `${state.chosen.name} · Trireme`;
  later();
}
const told = {
  hello,
  rows({ rows, gone }) {
    for (const row of rows) state.rows.set(row.store, row);
    for (const store of gone) { state.rows.delete(store); state.recent.delete(store); }
  },
  store(detail) {
    if (!state.chosen || detail.store !== state.chosen.name) return;
    const before = state.chosen.status.phase;
    Object.assign(state.chosen, { status: detail.status, differ: detail.differ, leftOut: detail.leftOut || 0 });
    if (before !== detail.status.phase) state.turned = true;
  },
  happened(event) {
    if (!state.chosen) return;
    state.chosen.events.push(event);
    if (state.chosen.events.length > 100) state.chosen.events.shift();
  },
  tick({ atMs, worst, lines }) {
    for (const [store, ms] of worst) {
      const recent = state.recent.get(store) || [];
      recent.push(ms);
      if (recent.length > 60) recent.shift();
      state.recent.set(store, recent);
    }
    const chosen = state.chosen;
    if (!chosen) return;
    chosen.times.push(atMs);
    const now = new Map(lines);
    for (const name of now.keys()) if (!chosen.lines.has(name)) chosen.lines.set(name, Array(chosen.times.length - 1).fill(null));
    for (const [name, points] of chosen.lines) points.push(now.get(name) ?? null);
    while (chosen.times.length > 600) {
      chosen.times.shift();
      for (const points of chosen.lines.values()) points.shift();
    }
    for (const [name, points] of chosen.lines) if (points.every((point) => !point)) chosen.lines.delete(name);
    state.ticked = true;
  },
};

// ---- the list of stores
function list() {
  document.body.classList.toggle('one', state.rows.size < 2 && state.source === 'local');
  const wanted = $('find').value.trim().toLowerCase();
  const rows = [...state.rows.values()].filter((row) => row.store.toLowerCase().includes(wanted));
  rows.sort((a, b) => (a.store < b.store ? -1 : 1));
  set($('list-title'), `Stores: ${count(state.rows.size)}`);
  $('none-found').hidden = rows.length > 0;
  fill($('rows'), rows, () => {
    const row = make('tr');
    const cells = [0, 1, 2, 3].map(() => make('td'));
    cells[0].append(make('a'));
    cells[3].append(draw('svg', { class: 'spark', role: 'img', viewBox: '0 0 90 18', preserveAspectRatio: 'none' }));
    row.append(...cells);
    return row;
  }, (node, row) => {
    const [name, phase, ready, lag] = node.children;
    const link = name.firstChild;
    if (link.textContent !== row.store) {
      link.textContent = row.store;
      link.href = '?store=' + encodeURIComponent(row.store);
    }
    const [kind, text] = PHASES[row.phase] || ['', row.phase];
    if (phase.className !== kind) phase.className = kind;
    set(phase, row.digests === 'differ' ? '✕ Digests differ' : text);
    if (row.digests === 'differ') phase.className = 'bad';
    if (phase.title !== (row.trouble || '')) phase.title = row.trouble || '';
    set(ready, row.ready);
    if (state.chosen && row.store === state.chosen.name) node.setAttribute('aria-current', 'true');
    else node.removeAttribute('aria-current');
    spark(lag.firstChild, state.recent.get(row.store) || []);
  });
}

// ---- the store that is looked at
function facts(status) {
  const group = status.groups[0] || {};
  const leaderless = group.r != null;
  const regions = status.groups.length > 1;
  const digests = (state.rows.get(state.chosen.name) || {}).digests || 'unknown';
  const all = [
    ['Mode', leaderless ? 'Leaderless' : regions || group.region ? 'MultiLeader' : 'SingleLeader'],
    [regions ? 'Leaders' : 'Leader', leaderless ? 'every replica takes writes' : status.leader.split(',').join(', ') || 'none'],
    ['Copies before OK', leaderless ? `w = ${group.w}, r = ${group.r} of n = ${group.n}` : `w = ${status.w} of n = ${status.n}${regions ? ' in each region' : ''}`],
    ['Replicas that serve', status.ready.replace('/', ' of ')],
    ['Digests', DIGESTS[digests][0], DIGESTS[digests][1]],
  ];
  const slo = status.slo || {};
  for (const [what, b] of [['Writes within ', slo.writeGap], ['Reads no older than ', slo.staleness]]) {
    if (b) all.push([what + b.within, `${b.objective}: ${(100 * b.budgetLeft).toFixed(1)} % of the budget left, spent ${b.burnRate.toFixed(1)} x as fast as allowed in the last hour`, b.budgetLeft > 0 ? '' : 'bad']);
  }
  if (!leaderless && !regions && group.epoch) all.splice(2, 0, ['Epoch', `${group.epoch} ${group.phase}`]);
  fill($('facts'), all, () => { const item = make('div'); item.append(make('dt'), make('dd')); return item; }, (item, [head, text, kind]) => {
    set(item.children[0], head);
    set(item.children[1], text);
    item.children[1].className = kind || '';
  });
}
function conditions(status) {
  const good = (c) => c.status === (c.type === 'Ready' ? 'True' : 'False') || !c.message;
  const all = status.conditions.filter((c) => !good(c));
  fill($('conditions'), all, () => make('li'), (item, c) => {
    item.className = c.type === 'Ready' ? 'bad' : '';
    set(item, `${c.type === 'Ready' ? 'Not ready' : c.type}: ${c.message}`);
  });
}
function replicas(status) {
  table($('replicas'), status.replicas.map((r) => {
    const differs = state.chosen.differ.includes(r.name);
    const role = !r.reachable ? ['✕ unreachable', 'bad'] : [r.member ? r.role : `${r.role}, no member`, r.role === 'Leader' ? 'good' : ''];
    const late = r.lagMs >= 500 && r.lagEntries > 0 ? 'n warn' : 'n';
    return [[r.region && status.groups.length < 2 ? `${r.name} (${r.region})` : r.name, ''], r.diskFull ? [role[0] + ', disk full', 'bad'] : role,
      [r.lagEntries === 0 ? '0' : time(r.lagEntries == null ? null : r.lagMs), late], [count(r.lagEntries), 'n'], [r.position || '–', 'n mono'], [count(r.keys), 'n'],
      differs ? [`✕ DIFFERS ${r.digest}`, 'mono bad'] : [r.digest || '–', 'mono'], [r.clientAddress || '–', 'mono']];
  }));
}
function regions(status) {
  const feeds = status.groups.flatMap((g) => (g.feeds || []).map((f) => [g.region, f]));
  $('s-regions').hidden = feeds.length === 0;
  table($('regions'), feeds.map(([from, f]) => [[from, ''], [f.region + (f.edge ? ' (edge)' : ''), ''],
    f.reachable ? ['reached', 'good'] : f.edge ? ['away', 'quiet'] : ['✕ not reached', 'bad'], [f.lagEntries === 0 ? '0' : time(f.lagMs), 'n'], [count(f.lagEntries), 'n'], [count(f.lagBytes), 'n']]));
}
const peaks = new Map();
function repair(status) {
  const all = [];
  for (const r of status.replicas) {
    if (r.snapshotSlots != null) all.push([`${r.name} receives all state: ${count(r.snapshotSlots)} of 16,384 slots`, r.snapshotSlots / 16384]);
    const differing = (r.peer && r.peer.slotsDiffering) || 0;
    if (differing > 0) {
      const peak = Math.max(differing, peaks.get(r.name) || 0);
      peaks.set(r.name, peak);
      all.push([`${r.name}: ${count(differing)} slots differ and are being mended`, 1 - differing / peak]);
    } else peaks.delete(r.name);
  }
  for (const g of status.groups) {
    for (const f of g.feeds || []) {
      if (f.slotsLeft != null) all.push([`${f.region} gets state from ${g.region}: ${count(f.slotsLeft)} slots to go`, 1 - f.slotsLeft / 16384]);
      else if (f.reachable && f.lagMs >= 1000 && f.backlogEntries > 0) all.push([`${f.region} catches up with ${g.region}: ${count(f.lagEntries)} of ${count(f.backlogEntries)} entries to go`, 1 - f.lagEntries / f.backlogEntries]);
    }
  }
  for (const r of status.replicas) {
    if (r.peer && (r.peer.keysRepaired || r.peer.readRepairs)) all.push([`${r.name}: ${count(r.peer.keysRepaired)} keys mended by comparing slots, ${count(r.peer.readRepairs)} by reads`]);
  }
  if (all.length === 0) all.push(['Nothing is being repaired.']);
  fill($('repair'), all, () => { const item = make('li'); item.append(make('span'), make('progress')); return item; }, (item, [text, done]) => {
    set(item.children[0], text);
    item.children[1].hidden = done == null;
    if (done != null) { item.children[1].value = done; item.children[1].setAttribute('aria-label', text); }
  });
}
function conflicts(status) {
  const known = status.replicas.filter((r) => r.conflicts != null);
  const all = known.map((r) => `${r.name}: ${count(r.conflicts)} ${r.conflicts === 1 ? 'update' : 'updates'} met another one made at the same time`);
  if (all.length) all.push('CONFLICTS shows the latest, with both values and why one is read.');
  else if (status.groups.length < 2 && !(status.groups[0] && status.groups[0].r != null)) all.push('One leader puts all writes in one order: none can happen.');
  else all.push('None since the replicas started.');
  fill($('conflicts'), all, () => make('li'), set);
}
function failovers(status) {
  const all = status.failovers;
  const key = state.chosen.name + JSON.stringify(all);
  if ($('failovers').key === key) return;
  $('failovers').key = key;
  $('no-failovers').hidden = all.length > 0;
  $('t-failovers').hidden = all.length === 0;
  const most = Math.max(1, ...all.map((f) => (f.detectMs || 0) + (f.activeMs || 0)));
  table($('failovers'), all.map((f) => {
    const at = make('time', '', new Date(f.at).toLocaleString('en-GB'));
    at.dateTime = f.at;
    const lost = f.lost > 0 ? [count(f.lost), 'n bad'] : [f.atRisk > 0 ? `0 (${count(f.atRisk)} at risk)` : '0', 'n'];
    return [at, [f.from || 'nobody', ''], [(f.to || 'not chosen yet') + (f.region ? ` (${f.region})` : ''), ''], [f.cause + (f.forced ? ' (forced)' : ''), ''], span(f, most), [time(f.activeMs), 'n'], [time(f.writeGapMs), 'n'], lost];
  }));
}
function events() {
  const all = state.chosen.events;
  $('no-events').hidden = all.length > 0;
  const list = $('events');
  const first = all.length ? all[0] : null;
  // Appended, not drawn anew: a log that grows is read out, one that is redrawn would be read from its beginning.
  if (list.of !== state.chosen.name || list.seen > all.length) { list.replaceChildren(); list.of = state.chosen.name; list.last = null; }
  const from = list.last ? all.indexOf(list.last) + 1 : 0;
  for (const event of all.slice(from)) {
    const item = make('li');
    const at = make('time', '', clock(event.atMs));
    at.dateTime = new Date(event.atMs).toISOString();
    item.append(at, make('span', '', event.message));
    list.prepend(item);
  }
  list.last = all.length ? all[all.length - 1] : null;
  list.seen = all.length;
  while (list.children.length > all.length && first) list.lastElementChild.remove();
}
function look() {
  const chosen = state.chosen;
  for (const part of document.querySelectorAll('main section')) if (part.id !== 's-regions') part.hidden = !chosen;
  if (!chosen) {
    set($('name'), state.rows.size ? 'No store of this name' : 'No store yet');
    set($('says'), state.rows.size ? 'Choose one from the list.' : 'It appears here as soon as there is one.');
    return;
  }
  const status = chosen.status;
  const [kind, text] = PHASES[status.phase] || ['', status.phase];
  set($('name'), chosen.name);
  $('phase').className = 'badge ' + kind;
  set($('phase'), text);
  const ready = status.conditions.find((c) => c.type === 'Ready');
  set($('says'), ready && ready.status === 'True' ? ready.message : '');
  facts(status);
  conditions(status);
  topology($('topology'), status);
  replicas(status);
  regions(status);
  repair(status);
  conflicts(status);
  failovers(status);
  events();
  chart();
}

// ---- when to draw
let waiting = false;
function later() {
  if (waiting || state.paused) return;
  waiting = true;
  // A page that nobody sees is drawn when it is seen again.
  requestAnimationFrame(() => { waiting = false; list(); look(); });
}
function link(kind, text) { $('link').className = kind; set($('link-text'), text); }
let source = null;
let again = null;
function listen() {
  if (source) source.close();
  clearTimeout(again);
  const name = new URLSearchParams(location.search).get('store') || (state.chosen && state.chosen.name) || '';
  source = new EventSource('events?store=' + encodeURIComponent(name));
  source.onopen = () => link('on', state.paused ? 'paused' : 'live');
  source.onerror = () => {
    link('off', 'no connection: what is shown is old');
    // A browser gives up where it was told that there is no room; this one asks again.
    if (source.readyState === EventSource.CLOSED) again = setTimeout(listen, 5000);
  };
  for (const kind of Object.keys(told)) source.addEventListener(kind, (event) => { told[kind](JSON.parse(event.data)); later(); });
}
function choose(name) {
  history.pushState(null, '', '?store=' + encodeURIComponent(name));
  state.cursor = null;
  listen();
  $('store').focus();
}
$('rows').addEventListener('click', (event) => {
  const anchor = event.target.closest('a');
  if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose(anchor.textContent);
});
addEventListener('popstate', listen);
$('find').addEventListener('input', later);
$('pause').addEventListener('click', () => {
  state.paused = !state.paused;
  $('pause').setAttribute('aria-pressed', String(state.paused));
  link($('link').className, state.paused ? 'paused' : 'live');
  later();
});
addEventListener('resize', later);
