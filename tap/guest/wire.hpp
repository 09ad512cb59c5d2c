#pragma once
// Messages between a guest's supervisor and its init, over one SOCK_SEQPACKET pair. Both run the
// same program, so a plain struct is enough.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/foreign_socket.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/mac.hpp"

namespace shmif::tap {

enum class GuestSays : std::uint32_t {
  // supervisor to init
  mapped,  ///< the ids are mapped; a: 1 if there is only one
  mac,     ///< before `run`: interface number a gets the address `mac`
  run,  ///< start the command; a: 1 in a process group of its own, b: 1 if that has the terminal;
        ///< text: the host name, or empty
  signal,   ///< send signal a to the command, or to its process group if it has one of its own
  resume,   ///< continue it if it is still in stop number a; b: 1 if it also gets the terminal
  confirm,  ///< is the command still in stop number a?
  // init to supervisor
  note,       ///< a sentence for the user, in text
  interface,  ///< a: its number, b: its index, c: LinkKind; mac; one descriptor
  watch,      ///< one descriptor: a socket of the watch on the guest's interfaces, in the order of
              ///< WatchSockets; none for a guest that was entered
  ready,      ///< everything is set up but interfaces whose address comes later; after `run`, they
              ///< are, too
  failed,     ///< a: code, b: 1 if the category is shmif's, 0 if generic; text; init ends
  not_run,    ///< a: errno of execvp
  stopped,    ///< the command was stopped; a: the number of this stop, from 1
  still_stopped,  ///< confirmed; a: by which signal, b: 1 if a group of the guest has the terminal
  exited,         ///< a: wait status of the command, b: daemons that it left, c: jobs; init ends
};

struct GuestMessage {
  GuestSays what = GuestSays::note;
  std::int32_t a = 0;
  std::int32_t b = 0;
  std::int32_t c = 0;
  MacAddress mac;
  std::array<char, 1000> text{};

  void set_text(std::string_view s) noexcept {
    s.copy(text.data(), text.size() - 1);  // the rest stays zero
  }
};
static_assert(std::is_trivially_copyable_v<GuestMessage>);

/// What say() does if there is no room, and hear() if there is no message.
enum class IfBlocked : std::uint8_t { wait, give_up };

/// Sends a message, with a descriptor unless that is -1. Result: false if the other side is gone,
/// or has no room.
bool say(int socket, const GuestMessage& message, int descriptor = -1,
         IfBlocked if_blocked = IfBlocked::wait) noexcept;

enum class Heard : std::uint8_t { message, nothing, end };

/// Receives a message, in init. Result: `end` if the other side is gone.
Heard hear(int socket, GuestMessage& message, IfBlocked if_blocked) noexcept;

/// Receives a message, in the supervisor. The guest's command may have taken over its init, so the
/// message is not trusted. `descriptor`: takes the descriptor that comes with the message; nullptr:
/// a message must not bring one. Result: `end` also if the message is not valid. Blocks: as
/// base::ForeignSocket::receive().
Heard hear(base::ForeignSocket& socket, GuestMessage& message, UniqueFd* descriptor);

/// Does the same before the command of a guest of our own has started. Until then init runs only
/// this program, so its message is trusted, and no child looks at the descriptor.
Heard hear_own_init(int socket, GuestMessage& message, UniqueFd& descriptor) noexcept;

}  // namespace shmif::tap
