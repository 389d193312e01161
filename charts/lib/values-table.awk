# Writes the table of values from values.yaml: a row for each key with a comment above it, without those that only hold other such keys.
# A value that no comment speaks for is an error.
BEGIN { print "| Value | Default | Meaning |\n| --- | --- | --- |" }

/^ *$/ { comment = ""; next }
/^ *#/ { line = $0; sub(/^ *# ?/, "", line); comment = comment == "" ? line : comment " " line; next }

{
  depth = match($0, /[^ ]/) - 1
  if (comment == "") {
    if (!leaf || depth <= leaf_depth && $0 !~ /^ *- /) {
      printf "%s:%d: no comment says what this is\n", FILENAME, FNR >"/dev/stderr"
      failed = 1
      exit 1
    }
    block[++lines] = $0
    next
  }
  write_row()
  key = $0; sub(/^ */, "", key); sub(/:.*/, "", key)
  value = $0; sub(/^[^:]*: */, "", value); if (value == $0 || value ~ /:$/) value = ""
  path = depth == 0 ? key : parent[depth] "." key
  parent[depth + 2] = path
  leaf = 1; leaf_depth = depth; leaf_value = value; meaning = comment
  lines = 0; comment = ""
}

END { if (!failed) write_row() }

# What was read last is a row if it has a value, or a block that is its value.
function write_row() {
  if (leaf && (leaf_value != "" || lines > 0)) {
    at = 1
    if (leaf_value == "") leaf_value = flow(indent(block[1]))
    gsub(/\|/, "\\|", meaning)
    printf "| `%s` | `%s` | %s |\n", path, leaf_value, meaning
  }
  leaf = 0
}

function indent(line) { return match(line, /[^ ]/) - 1 }

# The block from line `at` on, in one line.
function flow(depth,   list, text, item) {
  list = block[at] ~ /^ *- /
  while (at <= lines && indent(block[at]) == depth) {
    if (list) {
      sub(/- /, "  ", block[at])
      item = flow(depth + 2)
    } else {
      item = block[at]; sub(/^ */, "", item)
      at++
      if (item ~ /:$/) item = item " " flow(indent(block[at]))
    }
    text = text == "" ? item : text ", " item
  }
  return list ? "[" text "]" : "{" text "}"
}
