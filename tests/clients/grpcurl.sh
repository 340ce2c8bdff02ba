#!/usr/bin/env bash
# Talks to a Downlink server with grpcurl, as a person at a prompt would: through reflection, without a proto file.
#
#   grpcurl.sh URL
#
# Prints one line and ends with 0 only if everything held. The log may hold other events: each run uses its own names.
set -euo pipefail

address=${1#*://}
prefix=grpcurl/$RANDOM$RANDOM$RANDOM
grpcurl=("${DOWNLINK_GRPCURL:-grpcurl}" -plaintext -connect-timeout 5 -max-time 20)
passed=0
output=$(mktemp)
live=$(mktemp)
subscription=
trap 'kill $subscription 2>/dev/null || true; rm -f "$output" "$live"' EXIT

call() { # EXIT-CODE METHOD REQUEST: leaves the answer in $output
  local code=0
  "${grpcurl[@]}" -d "$3" "$address" "$2" >"$output" 2>&1 || code=$?
  [[ $code == "$1" ]] || fail "$2 ended with $code, not $1"
}

# grpcurl's exit codes: 64 and the status of the call.
invalid_argument=67
not_found=69

shows() { # TEXT...: the answer holds each of these
  local text
  for text; do
    grep -qF -- "$text" "$output" || fail "no '$text' in the answer"
    passed=$((passed + 1))
  done
}

fail() {
  echo "grpcurl: FAILED: $*" >&2
  cat "$output" "$live" >&2
  exit 1
}

wait_for() { # TEXT: until it is in $live, 15 s at most
  for ((tenth = 0; tenth < 150; tenth++)); do
    if grep -qF -- "$1" "$live"; then
      passed=$((passed + 1))
      return
    fi
    sleep 0.1
  done
  fail "no '$1' in the subscription within 15 s"
}

event() { # NAME VALUE
  echo "{\"signal\": \"$prefix/$1\", \"eventTime\": \"2018-10-12T11:42:08.123456789Z\", \"value\": {$2}}"
}

"${grpcurl[@]}" "$address" list >"$output"
shows downlink.v1.{Ingest,Query,Consumer,Log,Admin}Service grpc.health.v1.Health
"${grpcurl[@]}" "$address" describe downlink.v1.IngestService >"$output"
shows 'rpc Append (' 'rpc AppendStream ('

call 0 grpc.health.v1.Health/Check '{}'
shows '"status": "SERVING"'
call 0 grpc.health.v1.Health/Check '{"service": "downlink.v1.IngestService"}'
shows '"status": "SERVING"'

call 0 downlink.v1.IngestService/Append "{\"events\": [
  $(event level '"doubleValue": 16.5'),
  $(event level '"doubleValue": "NaN"'),
  $(event state '"intValue": "-9223372036854775808"'),
  $(event note '"stringValue": "café 🛰"'),
  $(event blob '"bytesValue": "AAH/"')
]}"
shows '"firstOffset"' '"lastOffset"' '"headOffset"'
first=$(sed -n 's/.*"firstOffset": "\([0-9]*\)".*/\1/p' "$output")

call 0 downlink.v1.QueryService/Read "{\"start\": {\"offset\": \"$first\"}, \"filter\": {\"signals\": [\"$prefix/*\"]}}"
shows "\"offset\": \"$first\"" "$prefix/level" '"2018-10-12T11:42:08.123456789Z"' '"doubleValue": 16.5' '"doubleValue": "NaN"' \
  '"intValue": "-9223372036854775808"' '"stringValue": "café 🛰"' '"bytesValue": "AAH/"' '"quality": "QUALITY_GOOD"' '"nextOffset"'

# The same API in packed arrays.
call 0 downlink.v1.IngestService/Append "{\"columns\": {
  \"signals\": [\"$prefix/packed\"], \"signalIndexes\": [0, 0], \"kinds\": [1, 4], \"doubleValues\": [\"-Infinity\"], \"stringValues\": [\"text\"]
}}"
shows '"firstOffset"' '"lastOffset"'
call 0 downlink.v1.QueryService/Read "{\"encoding\": \"ENCODING_COLUMNS\", \"filter\": {\"signals\": [\"$prefix/packed\"]}}"
shows '"columns"' '"signalIndexes"' "$prefix/packed" '"-Infinity"' '"text"' '"ingestTimeSecondDeltas"'

call 0 downlink.v1.QueryService/GetLatest "{\"signals\": [\"$prefix/level\"]}"
shows '"doubleValue": "NaN"' "\"offset\": \"$((first + 1))\"" '"asOfOffset"'

call 0 downlink.v1.QueryService/ListSignals "{\"filter\": \"$prefix/*\"}"
shows "$prefix/level" "$prefix/state" "$prefix/note" "$prefix/blob" '"eventCount": "2"'

call 0 downlink.v1.IngestService/DefineSignals "{\"signals\": [{\"name\": \"$prefix/state\", \"states\": {\"16\": \"Normal\"}, \"expectedPeriod\": \"10s\"}]}"
shows '"firstOffset"' '"lastOffset"'
call 0 downlink.v1.QueryService/ListSignals "{\"filter\": \"$prefix/state\"}"
shows '"16": "Normal"' '"expectedPeriod": "10s"'

call 0 downlink.v1.ConsumerService/CommitCheckpoint "{\"consumer\": \"$prefix\", \"nextOffset\": \"$first\"}"
shows "\"nextOffset\": \"$first\"" '"eventsBehind"' '"etag"'
call 0 downlink.v1.ConsumerService/ListConsumers '{}'
shows "\"name\": \"$prefix\""

call 0 downlink.v1.LogService/GetLogInfo '{}'
shows '"logId"' '"headOffset"' '"receivedEvents"' '"STATE_SERVING"'

# From history into life: what is appended while subscribed arrives. Ended here, or else by the time limit.
"${grpcurl[@]}" -d "{\"start\": {\"offset\": \"$first\"}, \"filter\": {\"signals\": [\"$prefix/*\"]}}" \
  "$address" downlink.v1.QueryService/Subscribe >"$live" 2>&1 &
subscription=$!
wait_for '"started"'
wait_for '"caughtUp"'
call 0 downlink.v1.IngestService/Append "{\"events\": [$(event live '"stringValue": "appended while subscribed"')]}"
wait_for 'appended while subscribed'
cp "$live" "$output"
shows '"doubleValue": 16.5' '"nextOffset"'
kill "$subscription"

call $invalid_argument downlink.v1.IngestService/Append "{\"events\": [$(event good '"boolValue": true'), {\"signal\": \"$prefix/bad\"}]}"
shows 'Code: InvalidArgument' INVALID_EVENT 'events[1].value'
call $not_found downlink.v1.QueryService/GetLatest "{\"signals\": [\"$prefix/good\"]}"
shows 'Code: NotFound' SIGNAL_UNKNOWN

echo "grpcurl: $passed checks passed"
