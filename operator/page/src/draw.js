
// ---- drawings: each has a table beside it that says the same
function draw(tag, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
}
// Small lags are worth as much room as large ones.
const scale = (value, most) => Math.log10(1 + value) / Math.log10(1 + most);

function spark(node, recent) {
  const key = recent.join();
  if (node.key === key) return;
  node.key = key;
  const most = 10000;
  let path = '';
  recent.forEach((ms, i) => {
    if (ms == null) return;
    const x = 90 - (recent.length - 1 - i) * 1.5;
    const y = 16.5 - 15 * Math.min(1, scale(ms, most));
    path += `${path && recent[i - 1] != null ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const now = recent.length ? recent[recent.length - 1] : null;
  node.setAttribute('aria-label', now == null ? 'lag not known' : `${time(now)} behind`);
  node.replaceChildren(draw('path', { d: path, class: 'l s0', 'vector-effect': 'non-scaling-stroke' }));
}

function span(failover, most) {
  const seal = Math.min(failover.sealMs || 0, failover.activeMs || 0);
  const parts = [failover.detectMs || 0, seal, (failover.activeMs || 0) - seal];
  const words = `noticed after ${time(failover.detectMs)}, sealed after ${time(failover.sealMs)}, served after ${time(failover.activeMs)}`;
  const node = draw('svg', { class: 'span', role: 'img', 'aria-label': words, viewBox: '0 0 200 12', preserveAspectRatio: 'none' });
  node.append(draw('title', {}, words));
  let x = 0;
  parts.forEach((ms, i) => {
    const width = ms > 0 ? Math.max(2, (ms / most) * 194) : 0;
    node.append(draw('rect', { x: x.toFixed(1), y: 1, width: width.toFixed(1), height: 10, class: 'f' + i }));
    x += width;
  });
  return node;
}

function topology(node, status) {
  const seen = status.replicas.map((r) => [r.name, r.role, r.reachable, r.member, r.lagEntries > 0 && r.lagMs >= 500]);
  const key = JSON.stringify([seen, status.groups.map((g) => [g.region, g.leader, g.serving, (g.feeds || []).map((f) => [f.region, f.reachable, f.lagMs >= 500 && f.lagEntries > 0])])]);
  if (node.key === key) return;
  node.key = key;
  const many = status.groups.length > 1;
  const groups = status.groups.map((g) => ({ ...g, of: status.replicas.filter((r) => !many || r.region === g.region) }));
  const leaderless = groups.length > 0 && groups[0].r != null;
  const parts = [], wires = [];
  let width = 0, height = 0;
  const leads = new Map();
  groups.forEach((group) => {
    const leader = group.of.find((r) => r.name === group.leader);
    const others = group.of.filter((r) => r !== leader);
    const places = new Map();
    let wide, high;
    if (leaderless) {
      const radius = Math.max(95, group.of.length * 24);
      wide = 2 * radius + 200;
      high = 2 * radius + 110;
      group.of.forEach((r, i) => {
        const turn = (2 * Math.PI * i) / group.of.length - Math.PI / 2;
        places.set(r, [wide / 2 + Math.cos(turn) * radius, 45 + radius + Math.sin(turn) * radius]);
      });
    } else {
      wide = Math.max(230, others.length * 135 + 30);
      high = others.length ? 225 : 125;
      if (leader) places.set(leader, [wide / 2, 58]);
      others.forEach((r, i) => places.set(r, [(wide * (i + 0.5)) / others.length, leader ? 160 : 100]));
    }
    const at = width;
    if (many) parts.push(draw('rect', { x: at + 4, y: 4, width: wide - 8, height: high - 8, rx: 14, class: 'box' }), draw('text', { x: at + wide / 2, y: 25, class: 'small' }, group.region));
    const wire = (from, to, r) => {
      const [a, b] = [places.get(from), places.get(to)];
      const kind = !r.reachable ? ' cut' : r.lagEntries > 0 && r.lagMs >= 500 ? ' late' : '';
      wires.push(draw('line', { x1: at + a[0], y1: a[1], x2: at + b[0], y2: b[1], class: 'wire' + kind }));
    };
    if (leaderless) group.of.forEach((one, i) => group.of.slice(i + 1).forEach((two) => wire(one, two, one.reachable ? two : one)));
    else if (leader) others.forEach((r) => wire(leader, r, r));
    if (leader) leads.set(group.region, [at + places.get(leader)[0], places.get(leader)[1]]);
    for (const [r, [x, y]] of places) {
      const role = r.role === 'Leader' ? ' lead' : r.role === 'Peer' ? ' peer' : r.role === 'Learner' || !r.member ? ' learn' : '';
      parts.push(draw('circle', { cx: at + x, cy: y, r: 20, class: 'node' + (r.reachable ? role : ' gone') }));
      parts.push(draw('text', { x: at + x, y: y + 5, class: r.reachable && r.role === 'Leader' ? 'in' : 'out' }, r.reachable ? r.role[0] : '✕'));
      parts.push(draw('text', { x: at + x, y: y + 38 }, r.name));
      parts.push(draw('text', { x: at + x, y: y + 53, class: 'small' }, r.reachable ? r.role.toLowerCase() : 'unreachable'));
    }
    width += wide + (many ? 34 : 0);
    height = Math.max(height, high);
  });
  if (many) {
    width -= 34;
    const done = new Set();
    for (const group of groups) {
      for (const feed of group.feeds || []) {
        const pair = [group.region, feed.region].sort().join();
        const [a, b] = [leads.get(group.region), leads.get(feed.region)];
        if (!a || !b || done.has(pair)) continue;
        done.add(pair);
        const back = groups.find((g) => g.region === feed.region).feeds.find((f) => f.region === group.region) || feed;
        const late = [feed, back].some((f) => f.lagEntries > 0 && f.lagMs >= 500);
        const kind = !feed.reachable || !back.reachable ? ' cut' : late ? ' late' : '';
        const depth = 34 - Math.min(60, Math.abs(b[0] - a[0]) / 8);
        wires.push(draw('path', { d: `M${a[0]} ${a[1] - 22}Q${(a[0] + b[0]) / 2} ${depth - 40} ${b[0]} ${b[1] - 22}`, class: 'wire' + kind }));
      }
    }
  }
  const top = many ? -34 : 18;
  node.setAttribute('viewBox', `${Math.min(0, (width - 420) / 2)} ${top} ${Math.max(width, 420)} ${height - top}`);
  node.style.height = Math.min(384, (height - top) * 1.05) + 'px';
  node.replaceChildren(...wires, ...parts);
}

const MARKS = { 1: [[1, '1 ms'], [10, '10 ms'], [100, '100 ms'], [1000, '1 s'], [10000, '10 s'], [60000, '1 min'], [600000, '10 min'], [3600000, '1 h']],
  0: [[1, '1'], [10, '10'], [100, '100'], [1000, '1,000'], [10000, '10,000'], [100000, '100,000'], [1000000, '1 million']] };
function chart() {
  const { times, lines } = state.chosen;
  const node = $('chart');
  const key = [state.chosen.name, times.length, times[times.length - 1], state.unit, state.cursor, node.clientWidth, state.chosen.status.failovers.length].join();
  if (node.key === key) return;
  node.key = key;
  const width = node.clientWidth || 800, height = node.clientHeight || 270;
  const left = 62, right = width - 10, top = 14, bottom = height - 24;
  const end = times.length ? times[times.length - 1] : Date.now();
  // At least a minute, and as much as there is.
  const length = Math.max(60000, Math.min(600 * state.period, times.length ? end - times[0] : 0));
  const x = (at) => left + ((at - end + length) / length) * (right - left);
  let most = 100;
  for (const points of lines.values()) for (const point of points) if (point) most = Math.max(most, point[state.unit]);
  const y = (value) => bottom - scale(value, most * 1.15) * (bottom - top);
  const parts = [draw('line', { x1: left, x2: right, y1: bottom, y2: bottom, class: 'grid' }), draw('text', { x: left - 8, y: bottom + 4, 'text-anchor': 'end' }, '0')];
  for (const [value, text] of MARKS[state.unit]) {
    if (value > most * 1.1) break;
    if (bottom - y(value) < 14) continue;
    parts.push(draw('line', { x1: left, x2: right, y1: y(value), y2: y(value), class: 'grid' }), draw('text', { x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, text));
  }
  for (let i = 0; i <= 4; i++) {
    const ago = (length * (4 - i)) / 4;
    parts.push(draw('text', { x: x(end - ago), y: height - 6, 'text-anchor': i === 4 ? 'end' : i ? 'middle' : 'start' }, i === 4 ? 'now' : `${time(Math.round(ago / 1000) * 1000).replace('.0', '').replace(' 0 s', '')} ago`));
  }
  for (const failover of state.chosen.status.failovers) {
    const at = Date.parse(failover.at);
    if (!failover.from || at < end - length || at > end) continue;
    const mark = draw('line', { x1: x(at), x2: x(at), y1: top, y2: bottom, class: 'fail' });
    const to = failover.to || '…';
    parts.push(mark, draw('text', { x: x(at) + 5, y: top + 8, class: 'flag', 'text-anchor': 'start' }, `→ ${to}`));
  }
  const names = [...lines.keys()];
  names.forEach((name, i) => {
    let path = '', before = null;
    lines.get(name).forEach((point, at) => {
      if (!point || times[at] < end - length) { before = null; return; }
      path += `${before ? 'L' : 'M'}${x(times[at]).toFixed(1)} ${y(point[state.unit]).toFixed(1)}`;
      before = point;
    });
    parts.push(draw('path', { d: path, class: 'l s' + (i % 8) }));
  });
  if (state.cursor != null && times.length) {
    state.cursor = Math.max(0, Math.min(times.length - 1, state.cursor));
    const at = x(times[state.cursor]);
    parts.push(draw('line', { x1: at, x2: at, y1: top, y2: bottom, class: 'cursor' }));
  }
  node.replaceChildren(...parts);
  const legend = $('legend');
  if (legend.key !== names.join()) {
    legend.key = names.join();
    legend.replaceChildren(...names.map((name, i) => {
      const item = make('li');
      const stroke = draw('svg', { viewBox: '0 0 30 8' });
      stroke.append(draw('path', { d: 'M0 4H30', class: 'l s' + (i % 8) }));
      item.append(stroke, name);
      return item;
    }));
  }
}
function read() {
  const { times, lines } = state.chosen;
  const said = [...lines].map(([name, points]) => {
    const point = points[state.cursor];
    return `${name} ${point ? (state.unit ? time(point[1]) : count(point[0]) + ' entries') : 'not known'}`;
  });
  set($('read'), `${clock(times[state.cursor])}: ${said.join(', ')}`);
  chart();
}
$('chart').addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e6, End: 1e6 }[event.key];
  if (!step || !state.chosen || !state.chosen.times.length) return;
  event.preventDefault();
  const last = state.chosen.times.length - 1;
  state.cursor = Math.max(0, Math.min(last, (state.cursor ?? last) + step));
  read();
});
$('chart').addEventListener('pointermove', (event) => {
  if (!state.chosen || !state.chosen.times.length) return;
  const { times } = state.chosen;
  const box = $('chart').getBoundingClientRect();
  const end = times[times.length - 1];
  const length = Math.max(60000, Math.min(600 * state.period, end - times[0]));
  const at = end - length + ((event.clientX - box.left - 62) / (box.width - 72)) * length;
  let best = 0;
  times.forEach((t, i) => { if (Math.abs(t - at) < Math.abs(times[best] - at)) best = i; });
  state.cursor = best;
  read();
});
for (const input of document.querySelectorAll('input[name=unit]')) {
  input.addEventListener('change', () => { state.unit = Number(input.value); later(); });
}

hello(JSON.parse($('first').textContent));
listen();
