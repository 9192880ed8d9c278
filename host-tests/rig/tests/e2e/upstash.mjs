// Uses the Redis behind an Upstash-compatible server with Upstash's own client, and prints what it found as JSON.
//
//   node upstash.mjs PACKAGE URL TOKEN describe          the keys, and each value's length, beginning and lifetime
//   node upstash.mjs PACKAGE URL TOKEN move FROM TO      renames a key
//   node upstash.mjs PACKAGE URL TOKEN write KEY TEXT    writes a value that lives for a minute

import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, url, token, action, ...rest] = process.argv.slice(2)
const { Redis } = await import(pathToFileURL(path.join(folder, 'nodejs.mjs')))
const redis = new Redis({ url, token, automaticDeserialization: false, enableTelemetry: false, retry: false })

const actions = {
  async describe() {
    const found = {}
    for (const key of await redis.keys('*')) {
      const [length, begin, ttl] = [await redis.strlen(key), await redis.getrange(key, 0, 3), await redis.ttl(key)]
      found[key] = { length, begin, ttl }
    }
    return found
  },
  move: (from, to) => redis.rename(from, to),
  write: (key, text) => redis.set(key, text, { ex: 60 })
}

console.log(JSON.stringify(await actions[action](...rest)))
