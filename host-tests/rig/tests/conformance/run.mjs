// Runs http-cache-tests through a cache and prints one line for each test:
// id, kind, verdict, whether it was retried, and the message, with tabs between.
//
//   node run.mjs FOLDER BASE [ID...]
//
// FOLDER is the package's, BASE the address of the cache in front of the suite's server. With IDs only those tests run.
// A test that fails is run once more among the other failed ones, because the suite measures time: `retried` says so.

import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, base, ...chosen] = process.argv.slice(2)
const load = file => import(pathToFileURL(path.join(folder, file)))
const config = await load('client/config.mjs')
const { makeCacheTest, testResults } = await load('client/test.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const suites = (await load('tests/index.mjs')).default.concat((await load('tests/surrogate-control.mjs')).default)

// This fetch makes a new connection for each request when it is given no agent, so that all workers are used.
config.setFetch(createRequire(path.join(folder, 'cli.mjs'))('node-fetch'))
config.setBaseUrl(base)

const TOGETHER = 60
const TOGETHER_AGAIN = 10
const WORDS = { '✅': 'pass', '⛔️': 'fail', '⚠️': 'fail', Y: 'yes', N: 'no', '🔹': 'setup', '⁉️': 'harness', '⚪️': 'dependency', '↻': 'retry', '-': 'untested' }

const tests = suites.flatMap(suite => suite.tests).filter(test => !test.browser_only)

// A test's requests are changed by running it, hence the copies.
async function run (some, together) {
  for (let i = 0; i < some.length; i += together) {
    await Promise.all(some.slice(i, i + together).map(test => {
      delete testResults[test.id]
      return makeCacheTest(structuredClone(test))
    }))
  }
}

const wanted = chosen.length > 0 ? tests.filter(test => chosen.includes(test.id)) : tests
await run(wanted, TOGETHER)
const failed = wanted.filter(test => testResults[test.id] !== true)
await run(failed, TOGETHER_AGAIN)

for (const test of wanted) {
  const result = testResults[test.id]
  const verdict = WORDS[determineTestResult(suites, test.id, testResults, chosen.length === 0)[2]]
  const message = result === true ? '' : `${result[0]}: ${result[1]}`.replace(/\s+/g, ' ')
  console.log([test.id, test.kind ?? 'required', verdict, failed.includes(test), message].join('\t'))
}
