#include "tests/support/server_fixture.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstring>
#include <sstream>
#include <thread>
#include <utility>

namespace vitower {
namespace {

std::string HttpGet(int port, const std::string& path) {
  const IdleConnection connection(port);
  const timeval patience{30, 0};
  setsockopt(connection.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  std::string answer;
  const std::string request = "GET " + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n";
  if (connection.connected() && send(connection.fd(), request.data(), request.size(), MSG_NOSIGNAL) > 0) {
    char part[4096];
    ssize_t got = 0;
    while ((got = recv(connection.fd(), part, sizeof(part), 0)) > 0) answer.append(part, static_cast<size_t>(got));
  }
  return answer;
}

}  // namespace

IdleConnection::IdleConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

IdleConnection::~IdleConnection() { close(fd_); }

ServerTest::ServerTest() {
  options_.listen = "127.0.0.1:0";
  options_.metrics_listen = "127.0.0.1:0";
  options_.preprocess_threads = 2;
}

absl::StatusOr<std::unique_ptr<Server>> ServerTest::TryStart() {
  std::vector<std::unique_ptr<Encoder>> encoders;
  encoders.push_back(MakePuppetEncoder(puppet_, dtype_));
  return Server::Start(options_, std::move(encoders));
}

void ServerTest::Start() {
  auto server = TryStart();
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  stub_ = v1::VisionEmbedder::NewStub(NewChannel());
}

std::shared_ptr<grpc::Channel> ServerTest::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const std::string target = "127.0.0.1:" + std::to_string(server_->port());
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

void ServerTest::SetDeadline(grpc::ClientContext& context, std::chrono::nanoseconds after) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(after));
}

ServerTest::Reply ServerTest::Embed(const v1::EmbedRequest& request, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  SetDeadline(context, deadline);
  Reply reply;
  reply.status = stub_->Embed(&context, request, &reply.response);
  for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
    reply.trailers.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  return reply;
}

std::string ServerTest::Get(const std::string& path) const { return HttpGet(server_->metrics_port(), path); }

double ServerTest::Metric(const std::string& series) const {
  std::istringstream lines(Scrape());
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(series + " ", 0) == 0) return std::stod(line.substr(series.size() + 1));
  }
  return -1;
}

void ServerTest::AwaitMetric(const std::string& series, double value) const {
  const auto give_up_at = std::chrono::steady_clock::now() + kLongEnough;
  while (Metric(series) != value) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up_at) << series << " is " << Metric(series) << ", not " << value;
    std::this_thread::yield();
  }
}

v1::Item ImageItem(const std::string& id, const std::string& bytes) {
  v1::Item item;
  item.set_id(id);
  item.set_image(bytes);
  return item;
}

v1::EmbedRequest RequestOf(std::vector<v1::Item> items) {
  v1::EmbedRequest request;
  for (v1::Item& item : items) *request.add_items() = std::move(item);
  return request;
}

v1::EmbedRequest OneImage(int64_t width, int64_t height, Colour colour) {
  return RequestOf({ImageItem("one", SolidBmp(width, height, colour))});
}

void ExpectRowsOf(const v1::Result& result, int64_t width, int64_t height, Colour colour) {
  ASSERT_EQ(result.status().code(), 0U) << result.status().message();
  Frames frames;
  frames.grid = GridThw{1, height / 16, width / 16};
  frames.rgb = std::vector<uint8_t>{colour.red, colour.green, colour.blue};
  ASSERT_EQ(static_cast<int64_t>(result.token_count()), frames.grid.patches() / 4);
  ASSERT_EQ(result.outputs_size(), 3);
  for (int output = 0; output < result.outputs_size(); ++output) {
    const std::string& data = result.outputs(output).data();
    ASSERT_EQ(data.size(), result.token_count() * 8 * sizeof(float));
    for (size_t i = 0; i < data.size() / sizeof(float); ++i) {
      float value = 0;
      std::memcpy(&value, data.data() + i * sizeof(float), sizeof(float));
      const auto place = static_cast<int64_t>(i);
      ASSERT_EQ(value, PuppetValue(frames, place / 8, place % 8, output))
          << result.outputs(output).name() << " at " << i;
    }
  }
}

}  // namespace vitower
