#!/bin/sh
# For udhcpc: takes a lease with its name server, and says so with a file.
case $1 in
  bound | renew)
    ip address replace "$ip/${mask:-24}" dev "$interface" &&
      printf 'search %s\nnameserver %s\n' "$domain" "$dns" >/etc/resolv.conf &&
      echo "$ip" >/run/lease ;;
esac
