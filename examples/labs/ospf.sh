#!/bin/sh
# A router of ospf.toml: FRR's zebra and ospfd. Prints what they log, and each change of a route.
PATH=$PATH:/usr/lib/frr
cat >/run/ospf.conf <<'CONF'
log timestamp precision 6
interface r12
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 10
 ip ospf retransmit-interval 3
interface r13
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 10
 ip ospf retransmit-interval 3
interface r23
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 10
 ip ospf retransmit-interval 3
router ospf
 network 198.18.0.0/16 area 0
 log-adjacency-changes detail
 timers throttle spf 400 400 5000
 timers throttle lsa all 200
 timers lsa min-arrival 100
CONF
ip -ts monitor route &
zebra --log stdout &
until [ -S /run/frr/zserv.api ]; do sleep 0.1; done
ospfd --config_file /run/ospf.conf --log stdout &

# Both neighbours know this router, and both networks have a route, which does not go by r2.
until [ "$(vtysh -c 'show ip ospf neighbor' | grep -c Full/)" = 2 ] &&
  ip route | grep -q '^198\.18\.1\.0/24' && ip route | grep -q '^198\.18\.3\.0/24' &&
  ! ip route | grep -q '^198\.18\.[13]\.0/24 .*via 198\.18\.[12][23]\.2 '; do
  sleep 0.1
done
echo "all routes are there"
wait
