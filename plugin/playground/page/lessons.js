
// The lessons: data, which a test of the engine plays too.

const lessons = JSON.parse(at('lessons').textContent)

/** A lesson as a scene. */
function lesson(name) {
  const of = lessons.find(one => one.name === name)
  const empty = !Object.keys(of.config).length
  return {
    config: empty ? '' : JSON.stringify(of.config, null, 2), lesson: name, chosen: 0, ahead: 0, horizon: 0,
    steps: of.steps.map(({ expect, ...step }) => step)
  }
}

/** Shows what the lesson of the scene teaches. */
function drawLesson() {
  const place = lessons.findIndex(one => one.name === scene.lesson)
  at('d-lesson').hidden = place < 0
  at('lesson').value = place < 0 ? '' : scene.lesson
  if (place < 0) return
  put('t-lesson', `Lesson ${place + 1} of ${lessons.length}: ${lessons[place].title}`)
  put('teaches', lessons[place].teaches)
  at('earlier').disabled = place === 0
  at('next').disabled = place === lessons.length - 1
}

let own = BEGINNING
/** What somebody has written is there again after a look at the lessons. */
function beginLesson(name) {
  if (!scene.lesson) own = structuredClone(scene)
  take(name ? lesson(name) : own)
  drawAll()
}

function turnLesson(by) {
  const place = lessons.findIndex(one => one.name === scene.lesson) + by
  if (lessons[place]) beginLesson(lessons[place].name)
}

function setUpLessons() {
  at('lesson').append(...lessons.map((one, n) => h('option', { value: one.name }, `${n + 1}. ${one.title}`)))
  at('lesson').addEventListener('change', () => beginLesson(at('lesson').value))
  at('earlier').addEventListener('click', () => turnLesson(-1))
  at('next').addEventListener('click', () => turnLesson(1))
}
