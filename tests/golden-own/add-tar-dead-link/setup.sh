python3 - <<'E'
import tarfile
t = tarfile.open("a.tar", "w")
i = tarfile.TarInfo("l"); i.type = tarfile.LNKTYPE; i.linkname = "gone"; t.addfile(i)
t.close()
E
