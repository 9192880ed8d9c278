// Holds a WasmPlugin, as JSON on stdin, against Istio's schema, and prints what is wrong with it.
//
//   node examples.mjs PACKAGE <plugin.json
//
// Kubernetes drops members that it does not know, and the schema lets them pass: their names are looked for in the types.

import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const place = path.join(process.argv[2], 'extensions.istio.io/v1alpha1/WasmPlugin')
const { WasmPlugin } = await import(pathToFileURL(`${place}.js`))
const types = fs.readFileSync(`${place}.d.ts`, 'utf8')
const plugin = JSON.parse(fs.readFileSync(0, 'utf8'))

const unknown = []
const look = (value) => {
  for (const [name, member] of Object.entries(value)) {
    if (!Array.isArray(value) && !new RegExp(`"${name}"\\??:`).test(types)) unknown.push(name)
    // What is in these is the user's own.
    if (member && typeof member === 'object' && !['pluginConfig', 'matchLabels'].includes(name)) look(member)
  }
}
look(plugin.spec)
try {
  new WasmPlugin(plugin).validate()
} catch (fault) {
  console.log(fault.message)
}
if (unknown.length > 0) console.log(`unknown: ${unknown.join(', ')}`)
