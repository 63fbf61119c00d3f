// The API as anyone reads it, and elements whose text is never markup.

export class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status }
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString()
  const answer = await fetch(query ? `${path}?${query}` : path, { headers: { Accept: 'application/json' } })
  const body = await answer.json()
  if (!answer.ok) throw new Refused(answer.status, body.detail || answer.statusText)
  return body
}

export async function enter(key) {
  const answer = await fetch('/live/session', { method: 'POST', headers: { 'X-API-Key': key } })
  const body = await answer.json()
  if (!answer.ok) throw new Refused(answer.status, body.detail)
  return body
}

export const leave = () => fetch('/live/session/end', { method: 'POST' })

export const $ = id => document.getElementById(id)

export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.map(child => child ?? ''))
  return made
}

export function table(heads, rows) {
  const cell = (tag, { text, is }) => el(tag, { className: is || '', textContent: text ?? '' })
  return el('div', { className: 'wide' }, el('table', {},
    el('thead', {}, el('tr', {}, ...heads.map(head => cell('th', head)))),
    el('tbody', {}, ...rows.map(row => el('tr', {}, ...row.map(one => cell('td', one))))),
  ))
}

export const nothing = text => el('p', { className: 'none', textContent: text })

export const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

export const moment = text => text ? text.slice(0, 19).replace('T', ' ') : ''

export const number = value => value == null ? ''
  : Number(value).toLocaleString('en', { maximumSignificantDigits: 10 })

export const themed = change =>
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => requestAnimationFrame(change))

// What a panel shows where it is refused: the reason, and the other panels go on.
export async function fill(place, make) {
  try {
    place.replaceChildren(await make())
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    place.replaceChildren(nothing(error.status === 404 ? 'Nothing here that your key may read.' : error.message))
  }
}
