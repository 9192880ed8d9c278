// Asks language models through a gateway with the client libraries that applications use, and prints what those made of the answers, as
// JSON: each question twice.
//
//   node llm_clients.mjs FOLDER openai|anthropic URL

import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, provider, url] = process.argv.slice(2)
const library = async name => (await import(pathToFileURL(path.join(folder, 'node_modules', name, 'index.mjs')))).default
const messages = [{ role: 'user', content: 'Hi' }]

/** What a promise of a client brings, with the fields of the response. */
async function seen(promise, told) {
  const { data, response } = await promise.withResponse()
  return { told: await told(data), status: response.headers.get('cache-status') }
}

/** The error that a client throws. */
async function thrown(promise) {
  try {
    await promise
    return 'none'
  } catch (error) {
    return { name: error.constructor.name, status: error.status, error: error.error, retry: error.headers?.get('retry-after') }
  }
}

async function twice(ask) {
  return [await ask(), await ask()]
}

async function in_turn(inputs, ask) {
  const answers = []
  for (const input of inputs) answers.push(await ask(input))
  return answers
}

async function all(stream, read) {
  const parts = []
  for await (const part of stream) parts.push(read(part))
  return parts
}

const providers = {
  async openai() {
    const OpenAI = await library('openai')
    const at = base => new OpenAI({ baseURL: url + base, apiKey: 'a', maxRetries: 0, timeout: 20_000 })
    const client = at('/v1')
    const asks = { model: 'gpt-t', temperature: 0, messages }
    return {
      json: await twice(() => seen(client.chat.completions.create(asks), answer => [answer.choices[0].message.content, answer.usage])),
      stream: await twice(() => seen(client.chat.completions.create({ ...asks, stream: true, stream_options: { include_usage: true } }),
        stream => all(stream, chunk => [chunk.choices[0]?.delta, chunk.choices[0]?.finish_reason, chunk.usage?.total_tokens]))),
      // A client that indexes the first choice of each event, as most do.
      unasked: await twice(() => seen(client.chat.completions.create({ ...asks, stream: true }),
        stream => all(stream, chunk => [chunk.choices[0].delta, chunk.choices[0].finish_reason, chunk.usage]))),
      embeddings: await twice(() => seen(client.embeddings.create({ model: 'embed-t', input: 'Hi', encoding_format: 'float' }), answer => answer.data[0].embedding)),
      // Without `encoding_format` it asks for base64, and makes numbers of it again.
      vectors: await in_turn([['one', 'three'], ['three', 'one', 'three'], ['new', 'one'], 'new', [[1, 2], [3]], [[3], [4, 5]], [4, 5]],
        input => seen(at('/vectors/v1').embeddings.create({ model: 'embed-t', input }), answer => [answer.data.map(item => [item.index, Array.from(item.embedding)]), answer.usage.total_tokens])),
      floats: await in_turn([['one', 'three'], ['one', 'four']],
        input => seen(at('/vectors/v1').embeddings.create({ model: 'embed-t', input, encoding_format: 'float' }), answer => answer.data.map(item => [item.index, item.embedding]))),
      refused: await thrown(at('/small/v1').chat.completions.create({ ...asks, max_tokens: 9 }))
    }
  },

  async anthropic() {
    const Anthropic = await library('@anthropic-ai/sdk')
    const at = base => new Anthropic({ baseURL: url + base, apiKey: 'a', maxRetries: 0, timeout: 20_000 })
    const client = at('/anthropic')
    const asks = { model: 'claude-t', max_tokens: 9, temperature: 0, messages }
    return {
      json: await twice(() => seen(client.messages.create(asks), answer => [answer.content[0].text, answer.usage])),
      stream: await twice(() => seen(client.messages.create({ ...asks, stream: true }), stream => all(stream, event => event))),
      whole: await client.messages.stream(asks).finalText(),
      refused: await thrown(at('/small/anthropic').messages.create(asks))
    }
  }
}

console.log(JSON.stringify(await providers[provider]()))
