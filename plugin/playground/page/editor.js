
// What somebody writes: the steps, the chosen one, the configuration.

const chosen = () => scene.steps[scene.chosen]
const first = text => (text || '').split('\n')[0].replace(/ HTTP\/[\d.]+$/, '')

/** What a step is, in a line. */
function told(step) {
  if (step.purge) {
    const { soft, ...what } = step.purge
    return (soft ? 'soft purge: ' : 'purge: ') + (what.all ? 'everything' : Object.values(what).flat().join(', '))
  }
  return first(step.request).replace(/^(\S+ )https?:\/\//, '$1')
}

/** The list of steps, with what became of each. */
function drawSteps(played) {
  const held = document.activeElement && document.activeElement.closest('#steps')
  put('steps', scene.steps.map((step, n) => {
    const of = played && played.steps && played.steps[n] || {}
    const kind = of.problem ? 'unread' : step.purge ? 'purged' : of.kind
    return h('li', {}, h('button', { type: 'button', 'aria-current': n === scene.chosen ? 'step' : undefined, onclick: () => choose(n) },
      h('span', { class: 'when' }, `${step.at} s`), h('span', { class: 'what mono' }, told(step)), kind ? badge(kind, isStored(of)) : h('span')))
  }))
  // The list is made anew: who chose by keyboard goes on from there.
  if (held) at('steps').querySelector('[aria-current]')?.focus()
  at('remove').disabled = scene.steps.length < 2
  at('add').disabled = at('add-purge').disabled = scene.steps.length >= MOST_STEPS
}

function choose(n) {
  scene.chosen = n
  scene.ahead = 0
  drawStep()
  changed()
}

/** The fields of the chosen step. What is being typed is left alone. */
function drawStep() {
  const step = chosen(), put = (id, value) => { if (at(id).value !== value) at(id).value = value }
  at('t-step').textContent = `Step ${scene.chosen + 1}`
  put('at', String(step.at))
  at('d-exchange').hidden = !!step.purge
  at('d-purge').hidden = !step.purge
  if (step.purge) {
    const kind = ['urls', 'tags', 'prefixes'].find(name => Array.isArray(step.purge[name])) || 'all'
    put('kind', kind)
    put('what', (step.purge[kind] || []).toString() === lines('what').toString() ? at('what').value : [].concat(kind === 'all' ? [] : step.purge[kind]).join('\n'))
    at('what').disabled = kind === 'all'
    at('soft').checked = step.purge.soft === true
    return
  }
  put('request', step.request || '')
  put('origin', step.origin || '')
  put('response', step.response || '')
  at('d-response').hidden = !!step.origin
}

const lines = id => at(id).value.split('\n').map(line => line.trim()).filter(line => line)

/** Takes over what stands in the fields of the chosen step. */
function readStep() {
  const step = chosen()
  step.at = Math.max(0, Number(at('at').value) || 0)
  if (step.purge) {
    const kind = at('kind').value
    step.purge = { [kind]: kind === 'all' ? true : lines('what'), soft: at('soft').checked }
    at('what').disabled = kind === 'all'
  } else {
    // Later steps that repeat the request go on repeating it.
    const old = step.request
    for (const later of scene.steps.slice(scene.chosen)) if (!later.purge && later.request === old) later.request = at('request').value
    step.origin = at('origin').value || undefined
    if (!step.origin && !at('response').value) {
      at('response').value = (scene.steps.slice(0, scene.chosen).reverse().find(one => one.response) || BEGINNING.steps[0]).response
    }
    if (at('response').value || !step.origin) step.response = at('response').value
    at('d-response').hidden = !!step.origin
  }
  mine()
  changed()
}

/** A lesson that somebody has changed is theirs. */
function mine() {
  if (!scene.lesson) return
  scene.lesson = ''
  drawLesson()
}

function insert(step) {
  scene.steps.splice(scene.chosen + 1, 0, step)
  mine()
  choose(scene.chosen + 1)
  at(step.purge ? 'what' : 'request').focus()
}

/** The request that a new step repeats. */
const before = () => scene.steps.slice(0, scene.chosen + 1).reverse().find(step => !step.purge) || BEGINNING.steps[0]

function setUpSteps() {
  for (const id of ['at', 'request', 'origin', 'response', 'kind', 'what', 'soft']) at(id).addEventListener('input', readStep)
  // The clock goes forward: a step that was given a later time than the next has its place after that.
  at('at').addEventListener('change', () => {
    const step = chosen()
    scene.steps.sort((one, other) => one.at - other.at)
    scene.chosen = scene.steps.indexOf(step)
    drawStep()
    changed()
  })
  at('add').addEventListener('click', () => insert({ at: chosen().at + 10, request: before().request, origin: 'same' }))
  at('add-purge').addEventListener('click', () => {
    const url = first(before().request).split(' ')[1] || 'https://example.com/a'
    insert({ at: chosen().at + 1, purge: { urls: [url], soft: false } })
  })
  at('remove').addEventListener('click', () => {
    const [gone] = scene.steps.splice(scene.chosen, 1)
    // Who answered as the one that is gone did goes on answering so.
    const next = scene.steps.slice(scene.chosen).find(step => !step.purge)
    if (gone.response && next && next.origin === 'same' && !scene.steps.slice(0, scene.chosen).some(step => step.response)) {
      next.response = gone.response
      next.origin = undefined
    }
    mine()
    choose(Math.min(scene.chosen, scene.steps.length - 1))
  })
}

// The configuration, and proposals for it.

let proposed = null

function drawFaults(faults) {
  put('faults', faults && faults.length ? [h('p', { class: 'bad' }, `Envoy would refuse it (${faults.length}):`), h('ul', {}, faults.map(({ path, found, allowed }) =>
    h('li', {}, h('button', { type: 'button', onclick: () => show(path) }, path), ` found ${found}, allowed: ${allowed}`)))] : null)
}

/** Selects the member of a path in the configuration, as well as it can be found. */
function show(path) {
  const text = at('config').value
  let place = 0, length = 0
  for (const name of path.match(/[^.[\]]+/g) || []) {
    const found = /^\d+$/.test(name) ? -1 : text.indexOf(`"${name}"`, place)
    if (found >= 0) [place, length] = [found, name.length + 2]
  }
  at('config').focus()
  at('config').setSelectionRange(place, place + length)
}

function propose(asked) {
  const field = at('config'), place = field.selectionStart
  if (place !== field.selectionEnd) return close()
  const answer = asks('complete', field.value.slice(0, place), field.value.slice(place))
  if (!answer || !answer.items.length || !asked && !answer.partial) return close()
  // What is written whole already needs no proposal.
  if (!asked && answer.items.length === 1 && answer.items[0].insert === answer.partial) return close()
  proposed = { ...answer, place, at: 0 }
  drawProposals()
}

function drawProposals() {
  // Some of them, around the chosen: a list to scroll in would want a key of its own.
  const { length } = proposed.items, from = Math.max(0, Math.min(proposed.at - 3, length - 8))
  put('proposals', proposed.items.map((item, n) => n >= from && n < from + 8 && h('li', { role: 'option', id: `proposal-${n}`, 'aria-selected': String(n === proposed.at), 'aria-posinset': n + 1, 'aria-setsize': length, onmousedown: event => { event.preventDefault(); proposed.at = n; accept() } },
    h('span', { class: 'mono' }, item.label), ' ', h('span', { class: 'soft' }, item.meaning))))
  at('proposals').hidden = false
  at('config').setAttribute('aria-activedescendant', `proposal-${proposed.at}`)
}

function close() {
  proposed = null
  at('proposals').hidden = true
  at('config').removeAttribute('aria-activedescendant')
}

function accept() {
  const field = at('config'), { items, at: n, place, partial, closes } = proposed
  const from = place - partial.length, to = place + (closes ? 1 : 0)
  close()
  field.focus()
  field.setSelectionRange(from, to)
  // Unlike an assignment this can be undone.
  if (!document.execCommand('insertText', false, items[n].insert)) field.setRangeText(items[n].insert, from, to, 'end')
  readConfig()
}

function readConfig() {
  scene.config = at('config').value
  mine()
  changed()
}

function setUpConfig() {
  const field = at('config')
  field.addEventListener('input', () => { readConfig(); propose(false) })
  field.addEventListener('blur', close)
  at('propose').addEventListener('click', () => { field.focus(); propose(true) })
  field.addEventListener('keydown', event => {
    if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault()
      return propose(true)
    }
    if (!proposed) return
    const turn = { ArrowDown: 1, ArrowUp: -1 }[event.key], many = proposed.items.length
    if (turn) {
      proposed.at = (proposed.at + turn + many) % many
      drawProposals()
    } else if (event.key === 'Enter' || event.key === 'Tab' && !event.shiftKey) accept()
    else if (event.key === 'Escape') close()
    else return
    event.preventDefault()
  })
}
