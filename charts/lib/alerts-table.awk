# Writes the table of alerts from the rendered PrometheusRule: the names, and what each says, with placeholders for the labels.
BEGIN { print "| Alert | Severity | After | It says |\n| --- | --- | --- | --- |" }
/^ *- alert: / { row(); alert = $3; after = "at once"; severity = says = "" }
/^ *- name: / { row(); alert = "" }
/^ *for: / { after = $2 }
/^ *severity: / { severity = $2 }
/^ *summary: / { says = $0; sub(/^ *summary: /, "", says); folded = 1; next }
/^ *expr: / { folded = 0 }
folded { line = $0; sub(/^ */, "", line); says = says " " line }
END { row() }

function row() {
  if (alert == "") return
  gsub(/^['"]|['"]$/, "", says)
  gsub(/{{ \$labels\.namespace }}\/{{ \$labels\.store }}/, "`STORE`", says)
  gsub(/{{ \$labels\.namespace }}\/{{ \$labels\.pod }}/, "`POD`", says)
  gsub(/{{ \$labels\.kind }}/, "`KIND`", says)
  gsub(/{{ \$labels\.objective }}/, "`OBJECTIVE`", says)
  gsub(/{{ \$value \| humanize }}/, "N", says)
  printf "| `%s` | %s | %s | %s |\n", alert, severity, after, says
}
