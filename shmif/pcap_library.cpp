#include "shmif/pcap_library.hpp"

#include <string>

#include "base/loaded_library.hpp"

namespace shmif {
namespace {

/// The same library. Debian still uses the name that it had before version 1.
constexpr const char* kDebianPcap = "libpcap.so.0.8";
constexpr const char* kPcap = "libpcap.so.1";

Result<PcapLibrary> load_pcap() {
  LoadedLibrary library(kDebianPcap);
  if (!library) library = LoadedLibrary(kPcap);
  PcapLibrary found;
  if (library.find("pcap_close", found.close) && library.find("pcap_compile", found.compile) &&
      library.find("pcap_datalink", found.datalink) &&
      library.find("pcap_datalink_val_to_description_or_dlt", found.datalink_name) &&
      library.find("pcap_fopen_offline_with_tstamp_precision", found.open_stream) &&
      library.find("pcap_freecode", found.free_code) && library.find("pcap_geterr", found.error) &&
      library.find("pcap_next_ex", found.next) &&
      library.find("pcap_offline_filter", found.matches) &&
      library.find("pcap_open_dead", found.open_dead)) {
    return found;
  }
  return Error(Errc::not_supported,
               std::string("cannot load libpcap (Debian's package libpcap0.8): ") + ::dlerror());
}

}  // namespace

Result<const PcapLibrary*> pcap_library() {
  static const Result<PcapLibrary> library = load_pcap();
  if (!library) return library.error();
  return &*library;
}

}  // namespace shmif
