// Holds a resource of Istio, as JSON on stdin, against its schema, and prints what is wrong with it.
//
//   node examples.mjs PACKAGE <resource.json
//
// Kubernetes drops members that it does not know, and the schema lets them pass: their names are looked for in the types.

import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const resource = JSON.parse(fs.readFileSync(0, 'utf8'))
const place = path.join(process.argv[2], resource.apiVersion, resource.kind)
const { [resource.kind]: Resource } = await import(pathToFileURL(`${place}.js`))
const types = fs.readFileSync(`${place}.d.ts`, 'utf8')

const unknown = []
const look = (value) => {
  for (const [name, member] of Object.entries(value)) {
    if (!Array.isArray(value) && !new RegExp(`"${name}"\\??:`).test(types)) unknown.push(name)
    // What is in these is the user's own.
    if (member && typeof member === 'object' && !['pluginConfig', 'matchLabels', 'labels', 'value'].includes(name)) look(member)
  }
}
look(resource.spec)
try {
  new Resource(resource).validate()
} catch (fault) {
  console.log(fault.message)
}
if (unknown.length > 0) console.log(`unknown: ${unknown.join(', ')}`)
