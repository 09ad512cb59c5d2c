#!/bin/sh
# For mqtt.toml. `mqtt.sh client NAME` answers each question with its name. `mqtt.sh ward COUNT`
# asks until all clients have answered, waits until the broker has given up all of them, and asks
# until all have answered again.
if [ "$1" = client ]; then
  # It learns of a dead line by its keepalive: 5 s is the shortest.
  while :; do
    mosquitto_sub -h broker -k 5 -i "$2" -t question
    sleep 1
  done | while read -r question; do
    mosquitto_pub -h broker -t "answer/$question" -m "$2"
  done
  exit
fi

# answers QUESTION: asks, waits for at most two seconds, and prints how many clients have answered.
answers() {
  mosquitto_sub -h broker -t "answer/$1" -C "$count" -W 2 >/run/answers 2>&1 &
  sleep 0.3
  mosquitto_pub -h broker -t question -m "$1"
  wait
  grep '^iot' /run/answers | sort -u | wc -l
}

# connected: prints how many of the broker's clients are connected, without the one that asks.
connected() { echo $(($(mosquitto_sub -h broker -C 1 -t '$SYS/broker/clients/connected') - 1)); }

count=$2 number=0 got=0
until [ "$got" = "$count" ]; do got=$(answers $((number += 1))); done
echo "all $count answer"
until [ "$got" = 0 ]; do got=$(connected); done
echo "none is left"
until [ "$got" = "$count" ]; do got=$(answers $((number += 1))) && echo "$got answer"; done
echo "all $count are back"
exec sleep infinity
