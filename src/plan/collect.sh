
set -u
umask 077
LC_ALL=C
export LC_ALL

say() { printf 'meshpcap: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
# Not every sleep takes fractions of a second.
pause() { sleep 0.2 2>/dev/null || sleep 1; }
# The last line of a file that says something; libpcap puts the system's words in parentheses below its own.
told() {
    last=
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        "("*) ;;
        *[![:space:]]*) last=$line ;;
        esac
    done <"$1"
    printf '%s' "$last"
}

# Without a name for the folder, it is a temporary one that goes to standard output as an archive.
archive=
if [ -z "$folder" ]; then
    archive=1
    for place in "${TMPDIR:-/tmp}" /tmp /dev/shm /var/tmp .; do
        folder=$place/meshpcap-$$
        mkdir "$folder" 2>/dev/null && break
        folder=
    done
    if [ -z "$folder" ]; then
        say "no folder can be written to here: nothing was captured"
        exit 2
    fi
elif ! mkdir -p "$folder"; then
    say "the folder $folder cannot be made: nothing was captured"
    exit 2
fi
errors=$folder/.errors
if [ -n "$pid" ] && ! $enter true 2>"$errors"; then
    say "the network namespace of process $pid cannot be entered: $(told "$errors"): nothing was captured (run this as root on the pod's node)"
    rm -f "$errors"
    rmdir "$folder" 2>/dev/null
    exit 2
fi

# What runs in the background is bounded by itself, too, in case that this script is killed.
most=$((duration + duration / 20 + 30))
for bound in "timeout -k 3 $most" "timeout $most" ""; do
    # shellcheck disable=SC2086
    $bound true 2>/dev/null && break
done

# Tools that are not there or not allowed: said once.
useless=" "
running=
captures=
stopped=
failed=0
# A signal ends the waiting, and all that comes after it is done.
trap 'stopped=1' INT TERM HUP

# capture INTERFACE FILTER
capture() {
    if ! has tcpdump; then
        case $useless in *" tcpdump "*) ;; *) say "tcpdump is not there: no packets" ;; esac
        useless="${useless}tcpdump "
        return
    fi
    # As root, tcpdump becomes another user before it opens the next file, and may not write there.
    user=
    if [ "$(id -u)" = 0 ]; then
        case $(tcpdump --help 2>&1) in *" -Z "*) user="-Z root" ;; esac
    fi
    # shellcheck disable=SC2086
    $enter $bound tcpdump -i "$1" $options $user -w "$folder/$1.pcap" "$2" </dev/null >/dev/null 2>"$folder/$1.log" &
    running="$running $!"
    captures="$captures $1:$!"
}

# snapshot FILE COMMAND...
snapshot() {
    file=$1
    shift
    case $useless in *" $1 "*) return ;; esac
    if ! has "$1"; then
        say "$1 is not there: no $file"
        useless="$useless$1 "
        return
    fi
    # shellcheck disable=SC2086
    if ! $enter "$@" </dev/null >"$folder/$file" 2>"$errors"; then
        say "$1: $(told "$errors"): no $file"
        rm -f "$folder/$file"
        useless="$useless$1 "
    fi
    [ -s "$folder/$file" ] || rm -f "$folder/$file"
}

# size FILE: in octets
size() {
    octets=$(wc -c <"$1" 2>/dev/null) || octets=0
    printf '%s' $((octets))
}

log_size=0
[ -n "$access_log" ] && log_size=$(size "$access_log")

# CAPTURES

# tcpdump listens when it says so.
listening=
for capture in $captures; do
    interface=${capture%:*}
    process=${capture##*:}
    tries=0
    while :; do
        case $(cat "$folder/$interface.log" 2>/dev/null) in
        *"listening on"*)
            listening="$listening $interface"
            break
            ;;
        esac
        if ! kill -0 "$process" 2>/dev/null || [ "$tries" -ge 50 ]; then
            say "tcpdump on $interface: $(told "$folder/$interface.log"): $interface is not captured"
            failed=1
            break
        fi
        tries=$((tries + 1))
        pause
    done
done

if has conntrack; then
    # shellcheck disable=SC2086
    $enter $bound conntrack -E -o timestamp,id </dev/null >"$folder/conntrack-events.txt" 2>"$folder/conntrack.log" &
    events=$!
    running="$running $events"
    pause
    if ! kill -0 "$events" 2>/dev/null; then
        say "conntrack: $(told "$folder/conntrack.log"): no conntrack-events.txt"
        useless="${useless}conntrack "
        rm -f "$folder/conntrack-events.txt"
    fi
fi
# SNAPSHOTS
# Rules can be in the other half of iptables, too.
for command in iptables-legacy-save ip6tables-legacy-save; do
    if has "$command"; then snapshot "$command.txt" "$command"; fi
done

if [ -n "$listening" ] && [ -z "$stopped" ]; then
    say "ready: capturing$listening for $duration s in $folder (^C ends it earlier)"
    # In steps: a signal ends the step, or is seen after it, whenever it comes.
    left=$duration
    while [ "$left" -gt 0 ] && [ -z "$stopped" ]; do
        sleep 1
        left=$((left - 1))
    done
    # The kernel hands packets over once a second.
    sleep 1
fi

# Terminates what runs, and kills what does not end.
for process in $running; do kill "$process" 2>/dev/null; done
tries=0
for process in $running; do
    while kill -0 "$process" 2>/dev/null && [ "$tries" -lt 25 ]; do
        tries=$((tries + 1))
        pause
    done
    kill -9 "$process" 2>/dev/null
    wait "$process" 2>/dev/null
done

for interface in $listening; do
    while IFS= read -r line; do
        case $line in
        "0 packets dropped"*) ;;
        *" dropped by "*) say "$interface: $line: use a larger --buffer or a shorter --snaplen" ;;
        esac
    done <"$folder/$interface.log"
done

if has ss; then snapshot sockets-after.txt ss -tanp; fi
if [ -n "$access_log" ]; then
    if [ -r "$access_log" ]; then
        say "waiting 11 s for Envoy to write its access log"
        sleep 11
        # A shorter one was rotated.
        [ "$(size "$access_log")" -lt "$log_size" ] && log_size=0
        tail -c "+$((log_size + 1))" "$access_log" >"$folder/access.log"
    else
        say "$access_log: cannot be read: no access.log"
    fi
fi
if [ -n "$keys" ]; then
    cat "$keys" >"$folder/keys.log" 2>/dev/null || {
        say "$keys: cannot be read: no keys.log"
        rm -f "$folder/keys.log"
    }
fi
rm -f "$errors"

if [ -n "$archive" ]; then
    if has tar; then
        tar -C "$folder" -cf - .
        rm -rf "$folder"
    else
        say "tar is not there: what was captured stays in the container, in $folder"
        failed=1
    fi
    exit "$failed"
fi
if [ -z "$listening" ]; then
    say "nothing was captured; what else was found is in $folder"
    exit 2
fi
printf 'meshpcap merge %s/ -o %s.pcapng%s\n' "$folder" "${folder##*/}" "$merge_options"
exit "$failed"
