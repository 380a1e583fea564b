"""What the vote page is in the browser: style and script of one Gradio component, with nothing to fetch.

The script asks `server.answer` (handler.py) and draws what comes back. A rater's id lies in the browser alone. A
vote names the item that it is for, is sent once, and is not taken in the first third of a second that a picture is
shown, so a double click is one vote. Pixels are never smoothed: a picture is shown at a whole multiple of its size.
"""

TEMPLATE = '<div class="booth" role="region" aria-live="polite"><p class="pale">One moment …</p></div>'

STYLE = """
.booth { font-size: 15px; line-height: 1.5; color: var(--body-text-color); outline: none; }
.booth h2 { font-size: 21px; margin: 4px 0 8px; font-weight: 600; }
.booth p { margin: 6px 0; max-width: 70ch; }
.booth .pale { opacity: 0.72; }
.booth h3 { font-size: 16px; margin: 12px 0 4px; font-weight: 600; }
.booth .line { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 10px 0; }
.booth .line.middle { justify-content: center; }
.booth .grow { flex: 1 1 auto; }
.booth .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: 14px;
  margin: 14px 0; }
.booth .card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 14px 16px; }
.booth .pictures { display: flex; flex-wrap: wrap; gap: 12px; justify-content: center; margin: 10px 0; }
.booth figure { margin: 0; text-align: center; }
.booth figcaption { opacity: 0.72; padding-top: 2px; }
.booth img { image-rendering: pixelated; display: block; max-width: none; margin: 0; border-radius: 0;
  background: #808080; }
.booth button { font: inherit; color: var(--button-secondary-text-color); cursor: pointer; border-radius: 8px;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  padding: 8px 14px; min-height: 42px; }
.booth button.first { background: var(--button-primary-background-fill); color: var(--button-primary-text-color);
  border-color: transparent; }
.booth button.answer { flex: 1 1 60px; max-width: 150px; display: flex; flex-direction: column; align-items: center;
  line-height: 1.25; padding: 6px 4px; }
.booth button.answer b { font-size: 17px; }
.booth button.answer small { font-size: 12px; }
.booth button.plain { background: none; border: none; text-decoration: underline; padding: 4px; min-height: 0;
  opacity: 0.72; color: var(--body-text-color); }
.booth button:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.booth .bar { width: min(140px, 22vw); height: 8px; border-radius: 4px; overflow: hidden;
  background: var(--border-color-primary); }
.booth .bar div { height: 100%; background: var(--color-accent); }
.booth .wrong { border-left: 4px solid #be2828; padding: 4px 12px; }
.booth .scroll { overflow-x: auto; }
.booth table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 8px 0; }
.booth th, .booth td { padding: 5px 14px 5px 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--border-color-primary); }
.booth th:first-child, .booth td:first-child { text-align: left; }
"""

SCRIPT = r"""
const root = element.querySelector('.booth');
const WAIT_MS = 350, LARGEST = 2, STORE = 'sr-vote-rater';
const WORDS = { 1: 'bad', 2: 'poor', 3: 'fair', 4: 'good', 5: 'excellent' };
let view = null, busy = false, since = 0;  // what is shown, whether an answer is awaited, when it was shown

function newRater() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
let rater = null;
try { rater = localStorage.getItem(STORE); } catch (error) { rater = null; }
function keepRater(id) {
  rater = id;
  try { localStorage.setItem(STORE, id); } catch (error) { /* without storage it lives as long as the page */ }
}
if (!/^[0-9a-f]{32}$/.test(rater || '')) keepRater(newRater());

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === 'onclick') made.addEventListener('click', value); else made.setAttribute(name, value);
  }
  for (const child of children) made.append(child);
  return made;
}
function draw(name, ...children) {
  view = { name };
  root.replaceChildren(...children);
  since = performance.now();
}
function button(text, kind, act) { return make('button', { type: 'button', class: kind, onclick: act }, text); }
function toMenu() { return button('Back', '', menu); }

async function ask(request) {
  if (busy) return null;
  busy = true;
  try {
    const answer = await server.answer({ ...request, rater });
    if (answer && !answer.error) return answer;
    if (answer) { draw('error', make('p', { class: 'wrong' }, answer.error), toMenu()); return null; }
    throw new Error('no answer');
  } catch (error) {
    draw('error', make('p', { class: 'wrong' },
      'The server does not answer. What it had not answered may not be counted; try again.'),
      button('Try again', 'first', menu));
    return null;
  } finally { busy = false; }
}

async function menu() {
  const answer = await ask({ do: 'hello' });
  if (!answer) return;
  if (answer.informed) {
    draw('menu', make('h2', {}, 'Thank you!'), make('p', {}, 'You have seen the results, so your voting has ended.'),
      make('div', { class: 'line' }, button('Show the results', 'first', results), other()));
    return;
  }
  const { scores, pairs } = answer.counts;
  const voted = scores.done + pairs.done;
  draw('menu', make('h2', {}, 'Which pictures look good?'),
    make('p', {}, 'You are shown enlarged photographs, in random order and without being told how each was made. ' +
      'There is no right answer. Stop whenever you like: what you have judged counts.'),
    make('div', { class: 'cards' },
      card('One picture at a time', 'Give each a mark from 1 (bad) to 5 (excellent).', scores, 'scores'),
      card('Two side by side', 'Say which looks better, or that you see no difference.', pairs, 'pairs')),
    make('div', { class: 'line' }, ...(voted ? [button('Show the results and end', '', results)] : []), other()));
}
function other() {
  return button('Begin as another person', 'plain', () => { keepRater(newRater()); menu(); });
}
function card(title, text, count, kind) {
  const begin = kind === 'scores' && count.done === 0 ? examples : () => next(kind);
  const said = count.done >= count.of ? 'All judged. Thank you!' : `${count.done} of ${count.of} judged`;
  const act = count.done >= count.of ? [] : [button(count.done ? 'Go on' : 'Begin', 'first', begin)];
  return make('div', { class: 'card' }, make('b', {}, title), make('p', {}, text), make('p', { class: 'pale' }, said),
    ...act);
}

async function examples() {
  const answer = await ask({ do: 'examples' });
  if (!answer) return;
  const images = answer.examples.map((each) => picture(each.picture, 'example'));
  await decoded(images);
  const figures = answer.examples.map((each, i) => make('figure', {}, images[i],
    make('figcaption', {}, `${each.score} (${WORDS[each.score]})`)));
  draw('examples', make('h2', {}, 'Before you begin'),
    make('p', {}, 'These show how wide the scale is: what a 1 looks like, and what a 5 looks like.'),
    make('div', { class: 'pictures' }, ...figures),
    make('div', { class: 'line middle' }, button('Begin', 'first', () => next('scores'))));
  fit(1);
}

function picture(source, alt) {
  return make('img', { src: source, alt, draggable: 'false' });
}
function decoded(images) { return Promise.all(images.map((image) => image.decode().catch(() => null))); }
async function next(kind) {
  const answer = await ask({ do: 'next', kind });
  if (answer) await show(kind, answer);
}
async function show(kind, answer) {
  if (answer.finished) return thanks(answer);
  const images = answer.pictures.map((source) => picture(source, 'picture to judge'));
  await decoded(images);
  const bar = make('div', { class: 'bar' }, make('div', { style: `width: ${100 * answer.done / answer.of}%` }));
  const head = make('div', { class: 'line' }, make('span', { class: 'count' }, `${answer.done + 1} of ${answer.of}`),
    bar, make('span', { class: 'grow' }), button('Stop here', '', () => thanks(answer)));
  const figures = images.map((image) => make('figure', {}, image, ...(kind === 'pairs' ? [make('figcaption')] : [])));
  const answers = kind === 'scores'
    ? [1, 2, 3, 4, 5].map((score) => choice(score, String(score), WORDS[score]))
    : [choice('left', '\u2190', 'left'), choice('tie', '0', 'no difference'), choice('right', '\u2192', 'right')];
  draw('item', head, make('div', { class: 'pictures' }, ...figures),
    make('div', { class: 'line middle answers' }, ...answers),
    make('p', { class: 'pale hint' }, kind === 'scores' ? 'Keys: 1 to 5'
      : 'Keys: \u2190 and \u2192, 0 or = for no difference'));
  Object.assign(view, { kind, token: answer.token });
  fit(LARGEST);
}
function choice(value, sign, word) {
  return make('button', { type: 'button', class: 'answer', 'data-answer': value, onclick: () => vote(value) },
    make('b', {}, sign), make('small', {}, word));
}
async function vote(value) {
  if (busy || view.name !== 'item' || performance.now() - since < WAIT_MS) return;
  const { kind, token } = view;
  const answer = await ask({ do: 'vote', kind, token, answer: value });
  if (answer) await show(kind, answer);
}
function thanks(answer) {
  const all = answer.finished ? 'That was all of it.' : 'You can go on whenever you like.';
  draw('thanks', make('h2', {}, 'Thank you!'), make('p', {}, `You have judged ${answer.done}. ${all}`),
    make('div', { class: 'line' }, button(answer.finished ? 'To the other test' : 'Back', 'first', menu)));
}
async function results() {
  if (view.name !== 'sure' && !view.sure) {
    draw('sure', make('h2', {}, 'Show the results?'),
      make('p', {}, 'Whoever knows the results is no longer blind: your voting on these pictures ends here.'),
      make('div', { class: 'line' }, button('Show the results', 'first', results), button('Go on voting', '', menu)));
    return;
  }
  const answer = await ask({ do: 'results' });
  if (!answer) return;
  const table = make('div', { class: 'scroll' });
  table.innerHTML = answer.results;
  draw('results', make('h2', {}, 'Results'), table, toMenu());
}

// every picture at the same whole multiple of its size in the screen's own pixels, as large as there is room
function fit(largest) {
  const images = [...root.querySelectorAll('img')];
  if (!images.length) return;
  const ratio = window.devicePixelRatio || 1, width = images[0].naturalWidth, height = images[0].naturalHeight;
  const room = root.clientWidth, tall = Math.max(300, window.innerHeight - 210);
  const beside = view.kind === 'pairs' ? 2 : 1;
  const widest = Math.floor((room - 12 * (beside - 1)) * ratio / beside / width);
  const factor = Math.max(1, Math.min(widest, Math.floor(tall * ratio / height), Math.round(largest * ratio)));
  for (const image of images) image.style.width = `${image.naturalWidth * factor / ratio}px`;
  const captions = [...root.querySelectorAll('figcaption')];
  if (view.kind === 'pairs') {
    const stacked = images[1].getBoundingClientRect().top > images[0].getBoundingClientRect().top + 1;
    captions[0].textContent = stacked ? '\u2190 left: this one, above' : '\u2190 left';
    captions[1].textContent = stacked ? '\u2192 right: this one, below' : 'right \u2192';
  }
}
function onKey(event) {
  if (!root.isConnected) { document.removeEventListener('keydown', onKey); return; }
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || !root.offsetParent) return;
  if (!view || view.name !== 'item' || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName || '')) return;
  const keys = view.kind === 'scores' ? { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 }
    : { ArrowLeft: 'left', ArrowRight: 'right', 0: 'tie', '=': 'tie' };
  if (event.key in keys) { event.preventDefault(); event.stopPropagation(); vote(keys[event.key]); }
}
document.addEventListener('keydown', onKey);
window.addEventListener('resize', () => { if (root.isConnected && view) fit(view.name === 'item' ? LARGEST : 1); });
menu();
"""
