python3 - <<'E'
import tarfile, io
t = tarfile.open("a.tar", "w")
def add(n, d, kind=tarfile.REGTYPE, link=""):
    i = tarfile.TarInfo(n); i.size = len(d); i.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644; i.type = kind; i.linkname = link; t.addfile(i, io.BytesIO(d))
add("/etc/motd", b"m\n"); add("sub", b"", tarfile.DIRTYPE); add("l", b"", tarfile.SYMTYPE, "/sub"); add("l/in", b"i\n")
t.close()
E
