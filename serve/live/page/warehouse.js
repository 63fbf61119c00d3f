// What the warehouse says: coverage, a series with its vintages, and the runs that built it.
import { $, asked, color, el, fill, get, moment, nothing, number, short, shown, table, themed } from '/live/api.js'

const DAYS = 14
const VINTAGES = 12

// To the run of dbt that a mart's rows are of.
const stale = run => el('a', { href: run ? `#run-${run}` : '#runs', textContent: 'why stale' })

export function coverage() {
  return fill($('coverage'), async () => {
    const { body: rows, run } = await asked('/v1/marts/rpt_coverage', {
      select: 'source_system,symbol,traded_date,trade_count,missing_trade_count,hole_count,holes,is_final',
      order: 'traded_date.desc', limit: 2000,
    })
    if (!rows.length) {
      return nothing('No day of trades is in the warehouse yet: `tidemark promote` brings the days that are over.')
    }
    const days = [...new Set(rows.map(row => row.traded_date))].slice(0, DAYS)
    const instruments = Map.groupBy
      ? Map.groupBy(rows, row => `${row.source_system} ${row.symbol}`)
      : rows.reduce((map, row) => {
        const name = `${row.source_system} ${row.symbol}`
        return map.set(name, [...(map.get(name) ?? []), row])
      }, new Map())
    const told = el('div', { role: 'status' })
    const lines = [...instruments].sort().map(([name, own]) => el('tr', {}, el('th', { textContent: short(name), title: shown(name) }),
      ...days.map(day => el('td', {}, cell(own.find(row => row.traded_date === day), told)))))
    const heads = el('tr', {}, el('th', { textContent: 'instrument' }),
      ...days.map(day => el('th', { textContent: day.slice(5) })))
    const holes = rows.filter(row => row.hole_count && days.includes(row.traded_date))
    tell(told, holes)
    return el('div', {}, el('div', { className: 'wide' }, el('table', { className: 'cells' }, heads, ...lines)), told,
      el('p', { className: 'soft' }, `Days of UTC up to ${days[0]}; `, stale(run)))
  })
}

function cell(row, told) {
  if (!row) return el('button', { type: 'button', textContent: '–', title: 'no trade, no hole', disabled: true })
  const text = row.hole_count ? `${row.hole_count} ✕` : '✓'
  const title = `${number(row.trade_count)} trades, ${row.hole_count} holes`
  const made = el('button', { type: 'button', className: row.hole_count ? 'holed' : 'whole', textContent: text, title })
  made.addEventListener('click', () => tell(told, [row], title))
  return made
}

function tell(told, rows, title = '') {
  const lines = rows.flatMap(row => (row.holes ?? []).map(hole => el('li', {
    textContent: `${row.source_system} ${row.symbol}: ${moment(hole.from)} to ${moment(hole.to)}, ${hole.kind}`
      + `${hole.missing ? `, ${number(hole.missing)} missing` : ''}: ${hole.reason}`,
  })))
  const head = rows.length === 1 ? `${rows[0].source_system} ${rows[0].symbol} on ${rows[0].traded_date}: ${title}` : ''
  told.replaceChildren(el('p', { className: 'soft', textContent: head || (lines.length ? 'Holes:' : 'No hole.') }),
    el('ul', { className: 'holes' }, ...lines.slice(0, 100)))
}

export function series() {
  return fill($('fanned'), async () => {
    const found = await get('/v1/marts/dim_economic_series', { select: 'series_key', order: 'series_key', limit: 1000 })
    const shown = $('series').value
    $('series').replaceChildren(...found.map(({ series_key: key }) => el('option', { value: key, textContent: short(key) })))
    if (found.some(({ series_key: key }) => key === shown)) $('series').value = shown
    $('series').onchange = () => fill($('fanned'), fan)
    return fan()
  })
}

let chart = null

async function fan() {
  const key = $('series').value
  $('fan').hidden = !key
  if (!key) return nothing('No economic series is in the warehouse yet: `tidemark ingest run fred` loads some.')
  const { body: rows, run } = await asked('/v1/marts/fct_economic_observations', {
    select: 'reference_date,vintage_date,available_at,value,is_withdrawn', series_key: `eq.${key}`,
    order: 'reference_date,vintage_date,available_at', limit: 50000,
  })
  const vintages = [...new Set(rows.map(row => row.vintage_date))].sort().slice(-VINTAGES)
  draw(vintages.map(vintage => known(rows, vintage)))
  return el('p', { className: 'soft' },
    `${vintages.length} vintages, ${vintages[0] ?? ''} to ${vintages.at(-1) ?? ''}; the newest is the bold line; `, stale(run))
}

function known(rows, vintage) {
  const values = new Map()
  for (const row of rows) if (row.vintage_date <= vintage) values.set(row.reference_date, row)
  return [...values].filter(([, row]) => !row.is_withdrawn && row.value != null)
    .map(([time, row]) => ({ time, value: Number(row.value) })).sort((a, b) => a.time.localeCompare(b.time))
}

function draw(lines) {
  chart?.remove()
  chart = LightweightCharts.createChart($('fan'), {
    autoSize: true,
    layout: { background: { color: color('--ground') }, textColor: color('--ink'), attributionLogo: true },
    grid: { vertLines: { visible: false }, horzLines: { color: color('--line') } },
    timeScale: { borderColor: color('--line') }, rightPriceScale: { borderColor: color('--line') },
  })
  lines.forEach((line, index) => {
    const isLast = index === lines.length - 1
    const made = chart.addSeries(LightweightCharts.LineSeries, {
      color: color(isLast ? '--link' : '--soft'), lineWidth: isLast ? 3 : 1, priceLineVisible: false,
      lastValueVisible: isLast, crosshairMarkerVisible: isLast,
    })
    made.setData(line)
  })
  chart.timeScale().fitContent()
}

themed(() => { if (chart) fill($('fanned'), fan) })

const sought = () => location.hash.startsWith('#run-') ? location.hash.slice(5) : ''

export function runs() {
  return fill($('built'), async () => {
    const rows = await get('/v1/marts/fct_dbt_runs', {
      target: 'eq.warehouse', order: 'started_at.desc', limit: 8,
    })
    if (!rows.length) return nothing('dbt has not run yet: the first load or promotion runs it.')
    const run = sought()
    if (run && !rows.some(row => row.invocation_id === run)) {
      rows.push(...await get('/v1/marts/fct_dbt_runs', { invocation_id: `eq.${run}` }))
    }
    const made = table(['began', 'ended', 'what', 'outcome', 'failed', 'skipped', 'run'].map(text => ({ text })),
      rows.map(row => [
        { text: moment(row.started_at) }, { text: moment(row.finished_at) }, { text: row.command },
        { text: row.outcome, is: row.outcome === 'failed' ? 'bad' : '' }, { text: row.failed_names ?? row.failed_count },
        { text: row.skipped_count }, { text: row.invocation_id.slice(0, 8) },
      ]))
    rows.forEach((row, index) => {
      const line = made.querySelectorAll('tbody tr')[index]
      line.id = `run-${row.invocation_id}`
      if (row.invocation_id === run) line.className = 'sought'
    })
    made.append(told(rows, run))
    const prefect = document.querySelector('meta[name=prefect]').content
    made.append(el('p', { className: 'soft' }, 'What a run said: ', el('a', { href: prefect, textContent: 'its flow' }),
      ', and `tidemark logs dbt-warehouse` on the host.'))
    return made
  })
}

// Why a mart has no newer rows than those of a run.
function told(rows, run) {
  const at = rows.findIndex(row => row.invocation_id === run)
  if (at < 0) return run ? nothing('The run that you ask for is not among those that are kept.') : ''
  const later = rows.slice(0, at).filter(row => row.command !== 'test' && row.started_at > rows[at].started_at)
  const failed = later.filter(row => row.failed_count)
  const text = `The mart's rows are of the run that is marked, which began at ${moment(rows[at].started_at)}. `
    + (failed.length ? `Of later runs these failed in: ${failed.map(row => row.failed_names ?? row.failed_count).join(', ')}.`
      : later.length ? 'Later runs had nothing new for it, or did not select it.' : 'dbt has built nothing since.')
  return el('p', { role: 'status', textContent: text })
}

addEventListener('hashchange', async () => {
  if (!sought()) return
  await runs()
  document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: 'center' })
})
