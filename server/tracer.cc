#include "server/tracer.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "server/text.h"

namespace vitower {
namespace {

int ThreadId() {
  thread_local const int id = static_cast<int>(syscall(SYS_gettid));
  return id;
}

std::string ThreadName() {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof(name));
  return name;
}

double Micros(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::micro>(time).count(); }

}  // namespace

void Tracer::Span(const char* name, TimePoint begin, TimePoint end, Ids ids) {
  if (on()) Add({name, begin, end, ThreadId(), ids});
}

void Tracer::Wait(const char* name, TimePoint begin, TimePoint end, uint64_t item) {
  if (on()) Add({name, begin, end, 0, {item}});
}

void Tracer::Add(Event event) {
  MutexLock lock(mu_);
  if (!recording_ || events_.size() >= kMostEvents || event.end < began_at_) return;
  if (event.thread != 0 && threads_.count(event.thread) == 0) threads_[event.thread] = ThreadName();
  events_.push_back(event);
}

absl::StatusOr<std::string> Tracer::Record(std::chrono::nanoseconds duration) {
  MutexLock lock(mu_);
  if (recording_ || stopped_) return absl::FailedPreconditionError("a trace is being recorded, or the server stops");
  recording_ = true;
  began_at_ = clock_.Now();
  on_.store(true, std::memory_order_relaxed);
  const TimePoint until = began_at_ + duration;
  while (!stopped_ && clock_.Now() < until) clock_.WaitUntil(changed_, mu_, until);
  on_.store(false, std::memory_order_relaxed);
  recording_ = false;
  std::string json = Json();
  events_ = {};
  threads_.clear();
  return json;
}

void Tracer::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
  }
  changed_.NotifyAll();
}

// Times from the beginning of the recording; what began before it shows with a negative one.
std::string Tracer::Json() const {
  nlohmann::json events = nlohmann::json::array();
  const int pid = getpid();
  const auto add = [&](nlohmann::json event) {
    event["pid"] = pid;
    events.push_back(std::move(event));
  };
  for (const auto& [thread, name] : threads_) {
    add({{"name", "thread_name"}, {"ph", "M"}, {"tid", thread}, {"args", {{"name", name}}}});
  }
  for (const Event& event : events_) {
    const double ts = Micros(event.begin - began_at_);
    if (event.thread != 0) {
      nlohmann::json args;
      if (event.ids.item != 0) args["item"] = event.ids.item;
      if (event.ids.batch != 0) args["batch"] = event.ids.batch;
      if (event.ids.patches != 0) args["patches"] = event.ids.patches;
      add({{"name", event.name},
           {"ph", "X"},
           {"ts", ts},
           {"dur", Micros(event.end - event.begin)},
           {"tid", event.thread},
           {"args", args}});
      continue;
    }
    const std::string id = Cat(event.ids.item);
    add({{"name", event.name}, {"cat", "item"}, {"ph", "b"}, {"id", id}, {"ts", ts}, {"tid", 0}});
    add({{"name", event.name},
         {"cat", "item"},
         {"ph", "e"},
         {"id", id},
         {"ts", Micros(event.end - began_at_)},
         {"tid", 0}});
  }
  return nlohmann::json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}.dump();
}

}  // namespace vitower
