
// What the engine says of the chosen step.

const notes = (of, part) => of && of[part] || []
const pairs = all => h('dl', {}, all.map(note => [h('dt', {}, note.about), h('dd', {}, note.text)]))
const field = ([name, value]) => `${name}: ${value}`

/** A head as a message. */
function message({ fields }, begins) {
  const get = name => (fields.find(([other]) => other === name) || [])[1] || ''
  const first = get(':method') ? `${get(':method')} ${get(':scheme')}://${get(':authority')}${get(':path')}` : begins
  return [first, ...fields.filter(([name]) => !name.startsWith(':')).map(field)].join('\n')
}

function drawVerdict(step, told) {
  if (told.problem) return put('verdict', badge('unread'), h('p', { class: 'bad' }, told.problem))
  if (step.purge) return put('verdict', badge('purged'), h('p', {}, 'What it hits is purged; the next step shows what comes of it. The time line below is of the request before.'))
  const verdict = notes(told.explanation, 'verdict')
  const asked = told.asked.length > 0, stored = isStored(told)
  put('verdict',
    h('p', { class: 'big' }, badge(told.kind, stored), ' ', KINDS[told.kind][1], told.kind === 'origin' && (stored ? ' It is stored.' : ' It is not stored.')),
    told.cache_status ? h('code', { class: 'line', id: 'cache-status' }, `Cache-Status: ${told.cache_status}`) : h('p', { class: 'soft' }, 'There is no Cache-Status: the rule says "off".'),
    verdict.filter(note => asked || note.about !== 'response').map(note => {
      // The response is the origin's, and of what was not asked there is none.
      const name = note.about === 'to change it' ? `to change that (${note.of})` : note.about
      return h('p', { class: note.about === 'to change it' ? 'note change' : 'note' }, h('strong', {}, name), ': ', note.why
        ? [note.outcome, ': ', h('code', {}, note.word), ': ', note.why, note.reference && [' (', cited(note.reference), ')']] : note.text)
    }),
    told.own.length > 0 && h('p', { class: 'note' }, h('strong', {}, 'in the background'), `: the cache asks the origin by itself, which answers ${told.own.map(one => one.status || 'nothing').join(', ')}.`))
}

function drawWire(told) {
  const status = of => of.status ? `HTTP ${of.status}` : 'nothing: it cannot be reached'
  const shown = !!told.fields
  at('d-wire').hidden = !shown
  if (!shown) return
  put('wire',
    told.asked.map(one => [h('h3', {}, 'What the origin was asked'), h('pre', { tabindex: 0 }, message(one, '')), h('p', { class: 'soft' }, `It answered ${status(one)}.`)]),
    told.own.map(one => [h('h3', {}, 'What the cache asked by itself, after that'), h('pre', { tabindex: 0 }, message(one, '')), h('p', { class: 'soft' }, `It was answered ${status(one)}.`)]),
    h('h3', {}, 'What the client gets'), h('pre', { tabindex: 0 }, message(told, `HTTP/1.1 ${told.status}`) + `\n\n(${told.bytes} bytes)`))
}

/** Shows the chosen step of what was played. */
function drawTold(played) {
  const told = played.steps[scene.chosen], step = chosen()
  // Where the verdict is far below what is written, it is said there in short.
  put('brief-said', badge(told.problem ? 'unread' : step.purge ? 'purged' : told.kind, isStored(told)), ' ', told.problem || told.cache_status || '')
  drawVerdict(step, told)
  drawWire(told)
  for (const [part, id] of [['key', 'key'], ['request', 'request-said'], ['store', 'store'], ['response', 'answer']]) {
    const all = notes(told.explanation, part)
    at(id).parentElement.hidden = !all.length
    put(id, pairs(all))
  }
  at('d-text').hidden = !told.text
  at('text').textContent = told.text || ''
}

/** Shows that nothing can be shown. */
function drawNothing(why) {
  put('brief-said', why)
  put('verdict', h('p', { class: 'bad' }, why))
  for (const id of ['d-time', 'd-key', 'd-request', 'd-store', 'd-answer', 'd-wire', 'd-text']) at(id).hidden = true
}
