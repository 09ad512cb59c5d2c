#include "tools/packets/packets.hpp"
#include "tools/packets/tcp_probe.hpp"

using namespace shmif;
using namespace shmif::tools;

extern "C" const Packets shmifctl_packets{
    SHMIFCTL_PACKETS_INTERFACE, decode,
    [](Port& port, const TcpService& service,
       std::optional<tap::IpAddress> from) -> std::unique_ptr<ServiceProbe> {
      return std::make_unique<TcpProbe>(port, service, from);
    }};
