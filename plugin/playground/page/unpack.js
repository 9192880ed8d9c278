// The engine's module, out of the page itself: base64, in it LZMA as `wasm-target/page` has packed it.

/** Unpacks LZMA whose head says its length. */
function unpack(packed) {
  const first = packed[0], lc = first % 9, lp = Math.floor(first / 9) % 5, pb = Math.floor(first / 45)
  const length = new DataView(packed.buffer, packed.byteOffset).getUint32(5, true)
  const out = new Uint8Array(length)
  const odds = count => new Uint16Array(count).fill(1024)
  let at = 14, range = 0xffffffff, code = 0
  for (let n = 0; n < 4; n++) code = ((code << 8) | packed[at++]) >>> 0

  const shift = () => {
    if (range < 0x1000000) {
      range = (range << 8) >>> 0
      code = ((code << 8) | packed[at++]) >>> 0
    }
  }
  const bit = (model, place) => {
    const odd = model[place], bound = (range >>> 11) * odd
    let seen = 0
    if (code < bound) {
      range = bound
      model[place] = odd + ((2048 - odd) >> 5)
    } else {
      range -= bound
      code -= bound
      model[place] = odd - (odd >> 5)
      seen = 1
    }
    shift()
    return seen
  }
  const plain = count => {
    let number = 0
    while (count-- > 0) {
      range >>>= 1
      const seen = code >= range ? 1 : 0
      if (seen) code -= range
      number = number * 2 + seen
      shift()
    }
    return number
  }
  const tree = (model, bits, from = 0) => {
    let node = 1
    for (let n = 0; n < bits; n++) node = (node << 1) | bit(model, from + node)
    return node - (1 << bits)
  }
  const backwards = (model, bits, from) => {
    let node = 1, number = 0
    for (let n = 0; n < bits; n++) {
      const seen = bit(model, from + node)
      node = (node << 1) | seen
      number |= seen << n
    }
    return number
  }

  const lengths = () => ({ choice: odds(2), low: odds(16 << 3), mid: odds(16 << 3), high: odds(256) })
  const long = (model, place) => !bit(model.choice, 0) ? tree(model.low, 3, place << 3)
    : !bit(model.choice, 1) ? 8 + tree(model.mid, 3, place << 3) : 16 + tree(model.high, 8)

  const literals = odds(0x300 << (lc + lp)), isMatch = odds(12 << 4), isRep = odds(12), isRep0 = odds(12), isRep1 = odds(12), isRep2 = odds(12),
    isShort = odds(12 << 4), slots = odds(4 << 6), near = odds(128), far = odds(16), matched = lengths(), repeated = lengths()
  let state = 0, rep0 = 0, rep1 = 0, rep2 = 0, rep3 = 0, made = 0

  while (made < length) {
    const place = made & ((1 << pb) - 1)
    if (!bit(isMatch, (state << 4) + place)) {
      const before = made ? out[made - 1] : 0
      const from = 0x300 * (((made & ((1 << lp) - 1)) << lc) + (before >> (8 - lc)))
      let letter = 1
      if (state >= 7) {
        let other = out[made - rep0 - 1]
        do {
          const wanted = (other >> 7) & 1
          other <<= 1
          const seen = bit(literals, from + ((1 + wanted) << 8) + letter)
          letter = (letter << 1) | seen
          if (wanted !== seen) break
        } while (letter < 0x100)
      }
      while (letter < 0x100) letter = (letter << 1) | bit(literals, from + letter)
      out[made++] = letter & 0xff
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6
      continue
    }
    let count
    if (bit(isRep, state)) {
      if (!bit(isRep0, state)) {
        if (!bit(isShort, (state << 4) + place)) {
          out[made] = out[made - rep0 - 1]
          made++
          state = state < 7 ? 9 : 11
          continue
        }
      } else {
        let distance = rep1
        if (bit(isRep1, state)) {
          distance = rep2
          if (bit(isRep2, state)) {
            distance = rep3
            rep3 = rep2
          }
          rep2 = rep1
        }
        rep1 = rep0
        rep0 = distance
      }
      count = long(repeated, place)
      state = state < 7 ? 8 : 11
    } else {
      rep3 = rep2
      rep2 = rep1
      rep1 = rep0
      count = long(matched, place)
      state = state < 7 ? 7 : 10
      const slot = tree(slots, 6, Math.min(count, 3) << 6)
      rep0 = slot
      if (slot >= 4) {
        const bits = (slot >> 1) - 1
        rep0 = (2 | (slot & 1)) * 2 ** bits
        rep0 += slot < 14 ? backwards(near, bits, rep0 - slot) : plain(bits - 4) * 16 + backwards(far, 4, 0)
      }
    }
    if (rep0 >= made) throw new Error('the module is damaged')
    for (let n = Math.min(count + 2, length - made); n > 0; n--, made++) out[made] = out[made - rep0 - 1]
  }
  return out
}

let compiled = null

/** The engine, ready to be asked, in its first state. */
function engine() {
  const text = () => document.getElementById('module').textContent
  compiled ??= new WebAssembly.Module(unpack(Uint8Array.from(atob(text()), letter => letter.charCodeAt(0))))
  const made = glue()
  made.initSync({ module: compiled })
  return made
}
