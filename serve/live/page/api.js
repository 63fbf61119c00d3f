// The API as anyone reads it, and elements whose text is never markup.

export class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status }
}

// What was answered, and of which run of dbt it is, where that is known. Whoever asks without a key is told by `keyless`.
export async function ask(path, options) {
  let answer, body
  try {
    answer = await fetch(path, options)
    body = await answer.json()
  } catch {
    throw new Refused(answer?.status ?? 0, 'The read API does not answer; this page asks again by itself.')
  }
  if (answer.status === 401) dispatchEvent(new Event('keyless'))
  if (!answer.ok) throw new Refused(answer.status, body.detail || answer.statusText)
  return { body, run: answer.headers.get('Tidemark-Run') }
}

export function asked(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString()
  return ask(query ? `${path}?${query}` : path, { headers: { Accept: 'application/json' } })
}

export const get = async (path, parameters) => (await asked(path, parameters)).body

export const enter = key => ask('/live/session', { method: 'POST', headers: { 'X-API-Key': key } })

export const leave = () => fetch('/live/session/end', { method: 'POST' })

export const $ = id => document.getElementById(id)

// What is not seen, or makes a word read backwards, is shown as an escape.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g
const MOST = 200 // characters of a name or a value
const escaped = one => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`
export const shown = text => String(text ?? '').replace(HIDDEN, escaped)
export const short = text => text.length > MOST ? `${text.slice(0, MOST)}…` : text

export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  if (properties.textContent) made.textContent = shown(properties.textContent)
  made.append(...children.map(child => child ?? ''))
  return made
}

export function table(heads, rows) {
  const cell = (tag, { text, is }) => el(tag, { className: is || '', textContent: short(String(text ?? '')) })
  return el('div', { className: 'wide' }, el('table', {},
    el('thead', {}, el('tr', {}, ...heads.map(head => cell('th', head)))),
    el('tbody', {}, ...rows.map(row => el('tr', {}, ...row.map(one => cell('td', one))))),
  ))
}

export const trouble = text => { $('trouble').textContent = shown(text) }

export const nothing = text => el('p', { className: 'none', textContent: text })

export const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

export const moment = text => text ? text.slice(0, 19).replace('T', ' ') : ''

export const number = value => value == null ? ''
  : Number(value).toLocaleString('en', { maximumSignificantDigits: 10 })

export const themed = change =>
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => requestAnimationFrame(change))

const UNBUILT = 'It is not built yet, or your key may not read it: the first load or promotion builds it, '
  + '`tidemark access audit` on the host says who may read what.'

// What a panel shows where it is refused: the reason, and the other panels go on.
export async function fill(place, make) {
  try {
    place.replaceChildren(await make())
    delete place.dataset.refused
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    place.dataset.refused = error.status
    place.replaceChildren(nothing(error.status === 404 ? UNBUILT : error.message))
  }
}
