// An origin with the session middleware of applications, express-session, which keeps its sessions in Redis by connect-redis. It makes
// sessions of many kinds through its own middleware, prints as JSON on one line where it listens and which cookies clients have, and
// tells each request what the middleware makes of its cookie beside the fields that have come with it.
//
//   node sessions.mjs FOLDER REDIS_PORT COUNT

import http from 'node:http'
import path from 'node:path'
import { createRequire } from 'node:module'

const [folder, port, count] = process.argv.slice(2)
const require = createRequire(path.join(path.resolve(folder), 'index.js'))
const session = require('express-session')
const { RedisStore } = require('connect-redis')
const { createClient } = require('redis')

const NEW = process.env.SELVAGE_SESSION_SECRET
const OLD = process.env.SELVAGE_SESSION_SECRET_OLD

const client = createClient({ url: `redis://127.0.0.1:${port}` })
await client.connect()

/** The middleware, which keeps sessions for a day unless their cookies say something else. */
const middleware = (secret, more = {}) =>
  session({ store: new RedisStore({ client, ...more }), secret, resave: false, saveUninitialized: false })

const current = middleware([NEW, OLD])
const makers = {
  new: current,
  old: middleware(OLD),
  stranger: middleware('a stranger to all'),
  forever: middleware([NEW, OLD], { disableTTL: true })
}

/** A value with the members of its objects in alphabetical order. */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.keys(value).sort().map(name => [name, sorted(value[name])]))
}

/** What a request should be given for a value of the session. */
function text(value) {
  if (value === null || value === undefined) return null
  const told = typeof value === 'string' ? value : JSON.stringify(sorted(value))
  const bytes = Buffer.from(told).length
  const isPlain = !/[\x00-\x1f\x7f]/.test(told) && !/^ | $/.test(told)
  return isPlain && bytes >= 1 && bytes <= 1024 ? Buffer.from(told).toString() : null
}

const field = (request, name) =>
  name in request.headers ? Buffer.from(request.headers[name], 'latin1').toString() : null

async function body(request) {
  let whole = ''
  for await (const part of request) whole += part
  return whole === '' ? {} : JSON.parse(whole)
}

const server = http.createServer(async (request, response) => {
  const sent = await body(request)
  const answer = (value, fields = {}) => {
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store', ...fields })
    response.end(JSON.stringify(value))
  }
  const maker = makers[request.headers['x-maker'] ?? 'new']
  maker(request, response, error => {
    if (error) return answer({ error: String(error) })
    const own = request.session
    const done = error => answer({ id: request.sessionID, error: error ? String(error) : null })
    switch (new URL(request.url, 'http://a.test').pathname) {
      case '/make':
        Object.assign(own, sent.session)
        if (sent.maxAge) own.cookie.maxAge = sent.maxAge
        return own.save(done)
      case '/change':
        Object.assign(own, sent)
        return own.save(done)
      case '/logout':
        return own.destroy(done)
      case '/renew':
        return own.regenerate(() => Object.assign(own, {}) && request.session.save(done))
      default: {
        const want = [text(own.user?.id), text(own.plan)]
        const got = [field(request, 'x-user-id'), field(request, 'x-plan')]
        return answer({ want, got, spoofed: Object.keys(request.headers).filter(name => /^x.user.id$|^x.plan$/.test(name)) })
      }
    }
  })
})

await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}`

/** Asks itself, as a client would, and gives the answer and the cookie. */
async function ask(target, sent, { cookie, maker = 'new' } = {}) {
  const headers = { 'x-maker': maker, ...(cookie && { cookie }) }
  const response = await fetch(url + target, { method: 'POST', body: JSON.stringify(sent ?? {}), headers })
  const set = response.headers.getSetCookie().find(line => line.startsWith('connect.sid='))
  return { ...(await response.json()), cookie: set?.split(';')[0] ?? cookie }
}

const deep = levels => (levels === 0 ? { leaf: [1, 2.5, null, true] } : { nested: deep(levels - 1), list: [levels] })

const KINDS = {
  plain: nth => ({ session: { user: { id: `user-${nth}` }, plan: 'gold' } }),
  number: nth => ({ session: { user: { id: nth }, plan: nth % 2 === 0 } }),
  unicode: nth => ({ session: { user: { id: `Zoë-${nth}-日本-🦊` }, plan: 'größer', '\ud800': '\udc00' } }),
  nested: nth => ({ session: { user: { id: `n-${nth}`, more: deep(20) }, plan: { tier: 'gold', since: [2020, nth] } } }),
  big: nth => ({ session: { filler: 'x"\\'.repeat(12000), user: { id: `big-${nth}` }, plan: 'free' } }),
  aged: nth => ({ session: { user: { id: `aged-${nth}` }, plan: 'gold' }, maxAge: 3_600_000 }),
  odd: nth => ({
    session: {
      user: { id: ['a\nb', ' led', 'trailed ', '', 'y'.repeat(1025), 'tab\tbed', '"quoted"', 'a,b;c'][nth % 8] },
      plan: [null, 'x\u007f', 'é', '{}', '-0', 'null', '   ', '%41'][nth % 8]
    }
  }),
  empty: () => ({ session: { visits: 1 } })
}

const made = []
const names = Object.keys(KINDS)
const note = (kind, cookie) => made.push({ kind, cookie })
for (let nth = 0; made.length < Number(count); nth++) {
  const name = names[nth % names.length]
  const sent = KINDS[name](nth)
  switch (nth % 11) {
    case 3: {
      const { cookie } = await ask('/make', sent)
      await ask('/logout', null, { cookie })
      note('destroyed', cookie)
      break
    }
    case 5: {
      const before = await ask('/make', sent)
      const after = await ask('/renew', null, { cookie: before.cookie })
      await ask('/change', sent.session, { cookie: after.cookie })
      note('given up', before.cookie)
      note('regenerated', after.cookie)
      break
    }
    case 7: {
      note('rotated', (await ask('/make', sent, { maker: 'old' })).cookie)
      break
    }
    case 8: {
      note('signed by a stranger', (await ask('/make', sent, { maker: 'stranger' })).cookie)
      break
    }
    case 9: {
      const { id, cookie } = await ask('/make', sent)
      note('not signed', `connect.sid=${id}`)
      note('forged', cookie.replace(/.$/, last => (last === 'A' ? 'B' : 'A')))
      note('twice, the first forged', `connect.sid=s%3A${id}.AAAA; ${cookie}`)
      note('twice, the second forged', `${cookie}; connect.sid=s%3A${id}.AAAA`)
      note('not escaped', decodeURIComponent(cookie))
      note('among others', `a=b; ${cookie}; c="d"`)
      note('in quotation marks', cookie.replace('=', '="') + '"')
      break
    }
    case 10: {
      note('for ever', (await ask('/make', sent, { maker: 'forever' })).cookie)
      break
    }
    default:
      note(name, (await ask('/make', sent)).cookie)
  }
}
console.log(JSON.stringify({ url, made }))
