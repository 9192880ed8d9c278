
// The time line: what the chosen request gets later, while the origin answers and while it fails.

let line = null

const stretch = ({ kind, detail }) => (KINDS[kind] || ['nothing'])[0] + (detail && !['worker', 'validated'].includes(detail) && kind !== 'failed' ? ` (${detail})` : '')

function track(name, { segments }, horizon, now) {
  const words = segments.map(one => `until ${span(one.to)} ${stretch(one)}`).join(', ')
  const wide = 1000
  const drawn = s('svg', { class: 'track', viewBox: `0 0 ${wide} 26`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${name}: ${words}` },
    segments.map(one => s('rect', { class: 'fill-' + one.kind, x: wide * one.from / horizon, width: Math.max(0, wide * (one.to - one.from) / horizon), height: 26 })),
    s('path', { class: 'hand', d: `M${wide * Math.min(now, horizon) / horizon} 0V26`, 'vector-effect': 'non-scaling-stroke', style: undefined }))
  return [h('h3', {}, name), drawn, h('ul', { class: 'stretches' }, segments.map(one =>
    h('li', {}, h('span', { class: `swatch kind-${one.kind}` }), `${span(one.from)} to ${span(one.to)}: ${stretch(one)}`)))]
}

/** One moment in words. */
function moment(name, told, explanation) {
  if (!told) return null
  const verdict = !told.own && explanation && explanation.verdict.find(note => note.about === 'request')
  const why = told.kind === 'failed' ? KINDS.failed[1] : told.reason ? [told.kind === 'origin' && !isStored(told) && 'not stored: ', told.reason.why, told.reason.reference && [' (', cited(told.reason.reference), ')']]
    : verdict && verdict.why ? [verdict.why, verdict.reference && [' (', cited(verdict.reference), ')']] : KINDS[told.kind][1]
  return h('div', { class: 'note' }, h('p', {}, badge(told.kind), ` ${name}: `, why), told.cache_status && h('code', { class: 'line' }, `Cache-Status: ${told.cache_status}`))
}

function drawLine() {
  const told = asks('ahead', JSON.stringify(scene), scene.chosen, scene.ahead, scene.horizon)
  const there = !!told && !told.problem
  at('d-time').hidden = !there
  if (!there) return
  line = told
  put('lines', track('The origin answers as before', told.answers, told.horizon, told.at), track('The origin cannot be reached', told.fails, told.horizon, told.at))
  drawMoment(told)
}

function drawMoment(told) {
  // A thousand places: finer than a screen, and with round numbers for round horizons.
  const place = Math.round(1000 * Math.min(told.at, told.horizon) / told.horizon)
  if (Number(at('ahead').value) !== place) at('ahead').value = place
  const words = told.at ? `in ${span(told.at)}` : 'at the same moment'
  at('ahead').setAttribute('aria-valuetext', `${words}: ${told.answers.now ? stretch(told.answers.now) : ''}`)
  at('ahead-said').textContent = words
  at('horizon').value = [...at('horizon').options].some(one => one.value === String(scene.horizon)) ? String(scene.horizon) : '0'
  put('later', moment('the origin answers', told.answers.now, told.explanation), moment('it cannot be reached', told.fails.now, null), pairs(told.explanation.store.filter(note => ['lifetime', 'age', 'freshness', 'stale use'].includes(note.about))))
}

let waits = 0
/** Looks at another moment, a part of the line. */
function lookAt(part) {
  if (!line) return
  const seconds = Math.min(1, Math.max(0, part)) * line.horizon
  // Whole seconds where that loses nothing.
  scene.ahead = line.horizon >= 500 ? Math.round(seconds) : Math.round(seconds * 10) / 10
  cancelAnimationFrame(waits)
  waits = requestAnimationFrame(() => { drawLine(); keepSoon() })
}

function setUpLine() {
  at('ahead').addEventListener('input', () => lookAt(at('ahead').value / 1000))
  // The hand can be drawn on the coloured lines too. They are made anew meanwhile, so it is their box that listens.
  const drawn = event => {
    const track = at('lines').querySelector('.track')
    const { left, width } = track.getBoundingClientRect()
    lookAt((event.clientX - left) / width)
  }
  at('lines').addEventListener('pointerdown', event => {
    if (!event.target.closest('.track')) return
    at('lines').setPointerCapture(event.pointerId)
    drawn(event)
  })
  at('lines').addEventListener('pointermove', event => { if (at('lines').hasPointerCapture(event.pointerId)) drawn(event) })
  at('horizon').addEventListener('change', () => {
    scene.horizon = Number(at('horizon').value)
    // The hand stays on the line.
    if (scene.horizon) scene.ahead = Math.min(scene.ahead, scene.horizon)
    drawLine()
    keepSoon()
  })
}
