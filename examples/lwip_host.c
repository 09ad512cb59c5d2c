/*
 * A firmware's TCP/IP stack on a bus: lwIP uses a port as its network card. The example answers
 * pings, and serves one file by HTTP until it is killed.
 *
 *     lwip_host /dev/shm/bus0 198.18.0.9/24 index.html
 *
 * As Debian builds it, lwIP runs in its own thread, which sends on the port. The main thread waits
 * for frames, in place of a card's interrupt handler.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/etharp.h>
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>

#include <shmif/shmif.h>

enum { kHttpPort = 80, kMaxTaken = 0x8000 };

static int fail(const char* why) {
  fprintf(stderr, "lwip_host: %s\n", why);
  return 1;
}

/* ---- The network card. ---- */

static err_t put_on_bus(struct netif* card, struct pbuf* packet) {
  struct pbuf* whole = packet; /* a frame may come in several pieces */
  if (packet->next != NULL) whole = pbuf_clone(PBUF_RAW, PBUF_RAM, packet);
  if (whole == NULL) return ERR_MEM;
  const int sent = shmif_send(card->state, whole->payload, whole->len);
  if (whole != packet) pbuf_free(whole);
  return sent == 0 ? ERR_OK : ERR_IF;
}

static err_t set_up_card(struct netif* card) {
  card->name[0] = 's';
  card->name[1] = 'h';
  card->hwaddr_len = ETH_HWADDR_LEN;
  shmif_mac(card->state, card->hwaddr);
  card->mtu = (u16_t)shmif_mtu(card->state);
  card->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
  card->output = etharp_output;
  card->linkoutput = put_on_bus;
  return ERR_OK;
}

/* Passes the next frame to lwIP. Result: its length; 0 if no frame has come; less than 0 if the bus
 * failed. */
static int take_from_bus(struct netif* card) {
  static unsigned char frame[0x10000];
  const int bytes = shmif_receive(card->state, frame, sizeof frame, NULL);
  if (bytes <= 0) return bytes;
  /* This does not use PBUF_POOL: its buffers are too small in Debian's lwIP 2.1.3. */
  struct pbuf* const packet = pbuf_alloc(PBUF_RAW, (u16_t)bytes, PBUF_RAM);
  if (packet == NULL) return bytes; /* the frame is lost, as on a card */
  pbuf_take(packet, frame, (u16_t)bytes);
  if (card->input(packet, card) != ERR_OK) pbuf_free(packet);
  return bytes;
}

/* ---- The HTTP server. lwIP calls these functions in its thread. ---- */

static char* page; /* the answer to every request: headers and file */
static size_t page_bytes;

struct client {
  unsigned matched; /* how much of the empty line that ends a request */
  size_t sent;      /* bytes of the page that lwIP has taken */
};

static err_t hang_up(struct client* client, struct tcp_pcb* connection) {
  tcp_arg(connection, NULL);
  tcp_err(connection, NULL);
  tcp_recv(connection, NULL);
  tcp_sent(connection, NULL);
  free(client);
  if (tcp_close(connection) == ERR_OK) return ERR_OK; /* lwIP still sends what it has taken */
  tcp_abort(connection);
  return ERR_ABRT;
}

static err_t answer(struct client* client, struct tcp_pcb* connection) {
  while (client->sent < page_bytes) {
    size_t bytes = LWIP_MIN(page_bytes - client->sent, tcp_sndbuf(connection));
    bytes = LWIP_MIN(bytes, kMaxTaken);
    if (bytes == 0 || tcp_write(connection, page + client->sent, (u16_t)bytes, 0) != ERR_OK) break;
    client->sent += bytes;
  }
  tcp_output(connection);
  return client->sent < page_bytes ? ERR_OK : hang_up(client, connection);
}

static err_t on_sent(void* client, struct tcp_pcb* connection, u16_t bytes) {
  (void)bytes;
  return answer(client, connection);
}

static err_t on_received(void* argument, struct tcp_pcb* connection, struct pbuf* data, err_t err) {
  static const char kEnd[] = "\r\n\r\n";
  struct client* const client = argument;
  (void)err;
  if (data == NULL) { /* the client sends no more, but may still read */
    return kEnd[client->matched] == '\0' ? ERR_OK : hang_up(client, connection);
  }
  for (u16_t i = 0; i < data->tot_len && kEnd[client->matched] != '\0'; ++i) {
    const char byte = (char)pbuf_get_at(data, i);
    client->matched = byte == kEnd[client->matched] ? client->matched + 1 : byte == '\r';
  }
  tcp_recved(connection, data->tot_len);
  pbuf_free(data);
  if (kEnd[client->matched] != '\0') return ERR_OK; /* the rest follows */
  tcp_sent(connection, on_sent);
  return answer(client, connection);
}

/* lwIP has given up the connection. */
static void on_error(void* client, err_t err) {
  (void)err;
  free(client);
}

static err_t on_connection(void* argument, struct tcp_pcb* connection, err_t err) {
  (void)argument;
  if (err != ERR_OK) return err;
  struct client* const client = calloc(1, sizeof *client);
  if (client == NULL) return ERR_MEM;
  tcp_arg(connection, client);
  tcp_recv(connection, on_received);
  tcp_err(connection, on_error);
  return ERR_OK;
}

/* Result: 0 or -1. */
static int read_page(const char* path) {
  FILE* const file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) return -1;
  const long bytes = ftell(file);
  if (bytes < 0 || (page = malloc((size_t)bytes + 100)) == NULL) return -1;
  rewind(file);
  const int head = snprintf(
      page, 100, "HTTP/1.0 200 OK\r\nContent-Length: %ld\r\nConnection: close\r\n\r\n", bytes);
  page_bytes = (size_t)head + (size_t)bytes;
  const size_t got = fread(page + head, 1, (size_t)bytes, file);
  fclose(file);
  return got == (size_t)bytes ? 0 : -1;
}

/* ---- Both together. ---- */

/* Splits "198.18.0.9/24". Result: 0 or -1. */
static int parse_address(const char* text, ip4_addr_t* address, ip4_addr_t* mask) {
  char host[16];
  unsigned length;
  if (sscanf(text, "%15[0-9.]/%u", host, &length) != 2 || length < 1 || length > 32) return -1;
  ip4_addr_set_u32(mask, lwip_htonl(0xffffffffU << (32 - length)));
  return ip4addr_aton(host, address) ? 0 : -1;
}

/* Result: 0 or -1. */
static int start(struct netif* card, shmif_port* port, const ip4_addr_t* address,
                 const ip4_addr_t* mask) {
  tcpip_init(NULL, NULL);
  LOCK_TCPIP_CORE();
  struct tcp_pcb* server = tcp_new();
  int result = server != NULL && tcp_bind(server, IP_ADDR_ANY, kHttpPort) == ERR_OK &&
               netif_add(card, address, mask, IP4_ADDR_ANY4, port, set_up_card, tcpip_input);
  if (result) {
    netif_set_default(card);
    netif_set_up(card);
    server = tcp_listen(server);
    if ((result = server != NULL)) tcp_accept(server, on_connection);
  }
  UNLOCK_TCPIP_CORE();
  return result ? 0 : -1;
}

int main(int argc, char** argv) {
  static struct netif card;
  ip4_addr_t address, mask;
  shmif_port* port = NULL;
  const struct shmif_port_options options = {.size = sizeof options, .name = "lwip"};
  if (argc != 4 || parse_address(argv[2], &address, &mask) < 0)
    return fail("usage: lwip_host BUS ADDRESS/LENGTH FILE");
  if (read_page(argv[3]) < 0) return fail("cannot read the file");
  if (shmif_open(argv[1], &options, &port) < 0 || shmif_up(port) < 0) return fail(shmif_message());
  struct pollfd frames = {.fd = shmif_fd(port), .events = POLLIN};
  if (frames.fd < 0) return fail(shmif_message());
  if (start(&card, port, &address, &mask) < 0) return fail("lwIP does not start");
  printf("%s is up\n", argv[2]);
  fflush(stdout);
  for (;;) { /* until it is killed */
    if (poll(&frames, 1, -1) == 1 && take_from_bus(&card) < 0) return fail(shmif_message());
  }
}
