// Holds a resource of Istio or Envoy Gateway, as JSON on stdin, against its schema, and prints what is wrong with it.
//
//   node examples.mjs PACKAGE <resource.json
//
// Kubernetes drops members that it does not know, and the schema lets them pass: they are looked for in the types.

import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const resource = JSON.parse(fs.readFileSync(0, 'utf8'))
const folder = path.join(process.argv[2], resource.apiVersion)
const { [resource.kind]: Resource } = await import(pathToFileURL(path.join(folder, `${resource.kind}.js`)))

const unknown = []
const read = (type) => fs.readFileSync(path.join(folder, `${type}.d.ts`), 'utf8')

// Istio has all types of a resource in one file: names that are nowhere in it.
const lookInFile = (value, types) => {
  for (const [name, member] of Object.entries(value)) {
    if (!Array.isArray(value) && !new RegExp(`"${name}"\\??:`).test(types)) unknown.push(name)
    // What is in these is the user's own.
    const own = ['pluginConfig', 'matchLabels', 'labels', 'value'].includes(name)
    if (member && typeof member === 'object' && !own) lookInFile(member, types)
  }
}

// Envoy Gateway has a file for each type: each member is one of the type that stands at its place. Kubernetes' own types are
// left to the schema.
const typeOf = (text) => /ComGithubEnvoyproxyGatewayApiV1alpha1(\w+)/.exec(text)?.[1]
const members = (type) => {
  const [, bases, body] = /export interface I\w+(?: extends ([^{]+))? \{\n([\s\S]*?)\n\}/.exec(read(type)) ?? []
  const own = [...(body ?? '').matchAll(/^ {4}"([^"]+)"\??: (.*);$/gm)].map(([, name, type]) => [name, type])
  const inherited = (bases ?? '').split(',').map(typeOf).filter(Boolean)
  return new Map([...inherited.flatMap((base) => [...members(base)]), ...own])
}
const lookInTypes = (value, type) => {
  if (Array.isArray(value)) return value.forEach((element) => lookInTypes(element, type))
  if (!value || typeof value !== 'object' || !type) return
  const known = members(type)
  for (const [name, member] of Object.entries(value)) {
    if (known.has(name)) lookInTypes(member, typeOf(known.get(name)))
    // `targetRefs` comes from the Gateway API.
    else if (!/PolicyTargetReferences/.test(read(type)) || name !== 'targetRefs') unknown.push(name)
  }
}

if (fs.existsSync(path.join(folder, `${resource.kind}Spec.d.ts`))) lookInTypes(resource.spec, `${resource.kind}Spec`)
else lookInFile(resource.spec, read(resource.kind))
try {
  new Resource(resource).validate()
} catch (fault) {
  console.log(fault.message)
}
if (unknown.length > 0) console.log(`unknown: ${unknown.join(', ')}`)
