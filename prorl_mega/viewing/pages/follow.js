/* What the live pages share: asking the server again and again, words for numbers, states, and small curves. */
'use strict';
prorl.live = (() => {
  const { make } = prorl;
  const EVERY_MS = 1000, SOON_MS = 120, LONGEST_MS = 8000;
  const notice = make('p', 'notice', { role: 'status', hidden: '' });
  let clock = 0;  // the server's minus this one's, ms: a tunnel may lead to another time

  /** Ask for an address, `address()`, as long as the page is seen; `show(content)` for every answer that is another one. */
  function follow(address, show) {
    let wait = EVERY_MS, last = null, timer = null, isAsking = false;
    async function ask() {
      isAsking = true;
      try {
        const answer = await fetch(address(), { cache: 'no-cache' });
        clock = Date.parse(answer.headers.get('Date')) - Date.now() || 0;
        if (answer.status === 404) { say('This run is not there any more. Asking again until it is.'); wait = 3000 }
        else if (!answer.ok) throw new Error(await answer.text());
        else {
          const tag = answer.headers.get('ETag'), content = await answer.json();
          if (tag !== last) { last = tag; show(content) }
          wait = content.complete === false ? SOON_MS : EVERY_MS;
          say('');
          document.documentElement.dataset.first ??= String(Math.round(performance.now()));
        }
      } catch (error) {
        say(`No answer from the server (${String(error.message ?? error).slice(0, 200)}). Asking again.`);
        last = null;
        wait = Math.min(LONGEST_MS, 2 * Math.max(wait, EVERY_MS));
      }
      isAsking = false;
      timer = document.hidden ? null : setTimeout(ask, wait);
    }
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && !isAsking) { clearTimeout(timer); ask() }
    });
    ask();
    return () => { if (!isAsking) { clearTimeout(timer); ask() } };  // now
  }

  function say(text) {
    notice.hidden = !text;
    if (notice.textContent !== text) notice.textContent = text;
  }

  /** "14 s", "1 min 05 s", "2 h 03 min", "3 d 04 h". */
  function duration(seconds) {
    const whole = Math.round(seconds), two = each => String(each).padStart(2, '0');
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole % 3600 / 60))} min`;
    return `${Math.floor(whole / 86400)} d ${two(Math.floor(whole % 86400 / 3600))} h`;
  }
  function ago(written) {
    if (written === null) return '–';
    const seconds = Math.max(0, (Date.now() + clock) / 1000 - written);
    if (seconds < 60) return 'just now';
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  }
  const share = value => value === null || value === undefined ? '–' : `${(100 * value).toFixed(1)} %`;
  const fixed = digits => value => value === null || value === undefined ? '–' : value.toFixed(digits);

  /** Set a text only where it is another one, which keeps selections. */
  function put(element, text) { if (element.textContent !== text) element.textContent = text }

  function state(run) {
    const badge = make('span', 'state');
    showState(badge, run);
    return badge;
  }
  function showState(badge, run) {
    put(badge, run.state);
    badge.className = `state ${run.state}`;
    badge.title = run.why;
  }

  /** A bar of a run's steps with its words. */
  function progress() {
    const bar = make('progress', '', { max: 1, value: 0 }), words = make('span', 'number'), left = make('small');
    const box = make('div', 'progress', {}, words, left, bar);
    return { box, show(run) {
      put(words, run.steps ? `${run.step} of ${run.steps}` : String(run.step));
      put(left, run.left === null ? '' : run.left > 0 ? `${duration(run.left)} left` : 'ending');
      bar.hidden = !run.steps;
      bar.value = run.steps ? Math.min(1, run.step / run.steps) : 0;
      bar.className = run.state;
    } };
  }

  const SVG = 'http://www.w3.org/2000/svg', WIDE = 96, HIGH = 26;
  function curve() {
    const svg = document.createElementNS(SVG, 'svg'), line = document.createElementNS(SVG, 'polyline');
    svg.setAttribute('viewBox', `0 0 ${WIDE} ${HIGH}`);
    svg.setAttribute('class', 'curve');
    svg.setAttribute('aria-hidden', 'true');
    svg.append(line);
    return { box: svg, show(values) {
      const known = values.map((each, i) => [i, each]).filter(([, each]) => each !== null);
      const numbers = known.map(([, each]) => each), low = Math.min(...numbers), high = Math.max(...numbers);
      const x = i => 1.5 + (WIDE - 3) * i / Math.max(1, values.length - 1);
      const y = each => HIGH - 2 - (HIGH - 4) * (high > low ? (each - low) / (high - low) : .5);
      line.setAttribute('points', known.length < 2 ? '' : known.map(([i, each]) => `${x(i).toFixed(1)},${y(each).toFixed(1)}`).join(' '));
    } };
  }

  /** The top of a page: where one is, light or dark. */
  function head(...parts) {
    const theme = make('button', 'button', { type: 'button', 'aria-label': 'light or dark', title: 'light or dark' }, '◐');
    theme.addEventListener('click', prorl.toggleTheme);
    return make('header', 'head', {}, make('div', 'where', {}, ...parts), theme, notice);
  }

  const view = document.getElementById('view');
  return { follow, duration, ago, share, fixed, put, state, showState, progress, curve, head, view };
})();
