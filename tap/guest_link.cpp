#include "tap/guest_link.hpp"

#include <utility>

#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"

namespace shmif::tap {
namespace {

template <class L>
Result<std::unique_ptr<AnyLink>> wrap(Result<L> link) {
  if (!link) return std::move(link).error();
  return std::make_unique<AnyLink>(std::make_unique<L>(*std::move(link)));
}

}  // namespace

Result<std::unique_ptr<AnyLink>> adopt(GuestLink& link, bool offload) {
  // A TAP file itself tells whether it has offloads.
  if (link.kind == LinkKind::tap) return wrap(TapLink::adopt(std::move(link.descriptor)));
  return wrap(PacketLink::adopt(std::move(link.descriptor), {.offload = offload}));
}

}  // namespace shmif::tap
