/* Through the shared library, as C99. */
#include <stddef.h>
#include <string.h>

#include <shmif/shmif.h>

int main(int argc, char** argv) {
  struct shmif_port_options options = {sizeof options, "listener", {0}, SHMIF_START_OLDEST};
  struct shmif_bus_info info = {sizeof info};
  struct shmif_frame_info about = {sizeof about};
  shmif_port *sender, *listener;
  unsigned char frame[60] = {0xff};
  if (argc != 2 || shmif_open_or_create(argv[1], NULL, NULL, &sender) < 0) return 1;
  if (shmif_up(sender) < 0 || shmif_send(sender, frame, sizeof frame) < 0) return 2;
  if (shmif_open(argv[1], &options, &listener) < 0 || shmif_up(listener) < 0) return 3;
  if (shmif_receive(listener, frame, sizeof frame, &about) != 60) return 4;
  if (about.number != 0 || about.sender != shmif_slot(sender)) return 5;
  if (shmif_inspect(argv[1], &info) < 0 || info.ports != 2 || info.frames != 1) return 6;
  shmif_close(sender);
  shmif_close(listener);
  return strcmp(shmif_version(), SHMIF_HEADER_VERSION) != 0 ? 7 : 0;
}
