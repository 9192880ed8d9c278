
// Asking the engine, and what happens when something changes.

let selvage = null

/** Asks the engine; `null` if it failed, which it must not. */
function asks(what, ...about) {
  try {
    return JSON.parse((selvage ??= engine())[what](...about))
  } catch (fault) {
    // What has trapped is in no known state.
    selvage = null
    say(`The engine has failed, which is a fault of ours: please report it with the link. (${fault.message})`)
    return null
  }
}

/** A configuration without what is so anyway. */
function shortened(config) {
  try {
    return (selvage ??= engine()).shortened(config)
  } catch {
    selvage = null
    return config
  }
}

let soon = 0, keepsSoon = 0

/** Plays the scene anew, when the typing has paused. */
function changed() {
  say('')
  clearTimeout(soon)
  soon = setTimeout(() => { soon = 0; drawPlayed() }, 60)
}

function keepSoon() {
  clearTimeout(keepsSoon)
  keepsSoon = setTimeout(keep, 250)
}

function drawPlayed() {
  const played = asks('play', JSON.stringify(scene))
  drawSteps(played)
  drawFaults(played && played.faults)
  keepSoon()
  if (!played) return drawNothing('The engine has failed.')
  if (played.faults) {
    const [{ path, found, allowed }] = played.faults
    return drawNothing(`Envoy would refuse the configuration, so nothing is played. ${path}: found ${found}, allowed: ${allowed}`)
  }
  if (played.problem) return drawNothing(played.problem)
  put('zero', `after ${played.zero}`)
  drawTold(played)
  drawLine()
}

/** Shows all of a scene that was taken over. */
function drawAll() {
  if (at('config').value !== scene.config) at('config').value = scene.config
  close()
  drawLesson()
  drawStep()
  drawPlayed()
}

function setUpPasting() {
  const add = keepsSteps => {
    const told = asks('pasted', at('pasted').value)
    if (!told) return
    at('not-pasted').textContent = told.problem ? `That cannot be read: ${told.problem}` : ''
    if (told.problem) return
    const last = scene.steps[scene.steps.length - 1].at
    const steps = told.steps.map(step => keepsSteps ? { ...step, at: step.at + last + 1 } : step)
    const all = keepsSteps ? [...scene.steps, ...steps] : steps
    take({ ...scene, lesson: '', steps: all, chosen: all.length - steps.length, ahead: 0 })
    at('pasting').close()
    drawAll()
    const taken = scene.steps.length - all.length + steps.length
    if (told.all > taken) say(`Of ${told.all} exchanges these are the first ${taken}: a scene has at most ${MOST_STEPS} steps.`)
    at('steps').querySelector('[aria-current]').focus()
  }
  at('paste').addEventListener('click', () => { at('not-pasted').textContent = ''; at('pasting').showModal() })
  at('close').addEventListener('click', () => at('pasting').close())
  at('replace').addEventListener('click', () => add(false))
  at('append').addEventListener('click', () => add(true))
  at('file').addEventListener('change', async () => {
    const [file] = at('file').files
    if (!file) return
    if (file.size > 64 << 20) at('not-pasted').textContent = 'The file is larger than 64 MiB.'
    else at('pasted').value = await file.text()
    at('file').value = ''
  })
}

async function copyLink() {
  await keep()
  const long = location.href.length
  try {
    await navigator.clipboard.writeText(location.href)
    say(long > FIRST_LINK ? `The link is copied. It has ${long} characters, which some programs cut: shorten the bodies.` : 'The link is copied: it holds all that you see' + (scene.steps.some(step => /^(authorization|cookie):/im.test(step.request)) ? ', Authorization and Cookie too. Take them out before you share it.' : '.'))
  } catch {
    say('The browser lets no page copy here: the link is this page’s address.')
  }
}

/** Shows whatever the address holds. */
async function start() {
  await open()
  at('all').hidden = false
  drawAll()
}

setUpLessons()
setUpSteps()
setUpConfig()
setUpLine()
setUpPasting()
at('link').addEventListener('click', copyLink)
at('why').addEventListener('click', () => at('t-verdict').scrollIntoView())
// Another link was put into the address; what this page puts there itself is no event.
addEventListener('hashchange', () => { if (location.hash !== kept) start() })
start()
