"""Sums, routes and gates of the random nets."""

from random_layers import Layers

EXTRA = ["depthwise_inside", "grouped_inside"]


class Wiring(Layers):
    """Whatever reads more than the layer before it."""

    def shortcut(self, several=False, **more):
        def harmless(i):  # AlexeyAB's fork reads behind a narrower source whose own input has the shape of the sum
            return self.shapes[i][2] >= self.now[2] or self.seen[i] != self.now

        sources = [i for i in self.same_size()[:-1] if harmless(i)]
        equal = [i for i in sources if self.shapes[i] == self.now]
        if not sources or (not equal and self.chance(60)):
            if not self.sections:
                self.conv()
            start = self.count - 1
            if self.shapes[start] != self.now:
                return self.conv()
            self.conv(filters=self.now[2], keep=True)
            sources = equal = [start]
        if equal and not self.chance(25):
            sources = equal
        chosen = [self.pick(sources[::-1]) for _ in range(self.pick([1, 2, 3]) if several else 1)]
        more.update(self._factors())
        self._sum(chosen, self.pick(["linear", "linear", "linear", "leaky"] + self._sums()), **more)

    def uneven(self):
        """Sums of maps with different numbers of channels, the wider one on either side."""
        for _ in range(self.pick([1, 2])):
            others = [i for i in self.same_size()[:-1] if self.shapes[i][2] != self.now[2]]
            if not others:
                self.conv(filters=self.pick([8, 4, 6]), keep=True)
                self.conv(filters=self.pick([6, 3, 10, 12]), keep=True)
                others = [self.count - 2]
            if self.shapes[others[0]][:2] != self.now[:2] or self.shapes[others[0]] == self.now:
                return
            several = self.pick([1, 2, 3]) if self.flavour == "fork" else 1
            chosen = [self.pick(others[::-1]) for _ in range(several)]
            self._sum(chosen, self.pick(["linear", "leaky"]), **({} if self.flavour == "opencv" else self._factors()))
            if self.chance(50):
                self.conv(keep=True)

    def strided(self):
        """A sum with a larger map, of which every n-th cell counts, or with a smaller one."""

        def fits(shape):
            (w, h), (sw, sh) = self.now[:2], shape[:2]
            larger = (sw % w, sh % h) == (0, 0) and sw // w == sh // h > 1
            return larger or ((w % sw, h % sh) == (0, 0) and w // sw == h // sh > 1)

        sources = self.earlier(fits)
        if not sources:
            w, h, c = self.now
            if w % 2 or h % 2 or not self.sections or self.shapes[-1] != self.now:
                return self.conv()
            large = self.count - 1
            self.add("maxpool", (w // 2, h // 2, c), [("size", 2), ("stride", 2)])
            self.conv(keep=True)
            sources = [large]
            if self.chance(50):
                self.add("route", self.shapes[large], [("layers", self.ref(large))])
                sources = [large + 2]
        self._sum([self.pick(sources[::-1])], self.pick(["linear", "leaky"]), **self._factors())

    def _factors(self):
        """alpha and beta, where a reader knows them."""
        if self.flavour == "fork" or self.dialect == "alexeyab" or not self.chance(20):
            return {}
        factors = {"alpha": self.pick(["0.5", "-1", "2"])}
        if self.dialect == "pjreddie":
            factors["beta"] = self.pick(["1", "0.5", "-2"])
        return factors

    def _sums(self):
        return {"darknet": ["relu", "logistic"], "opencv": ["relu", "mish"], "fork": ["swish", "mish", "relu"]}[
            self.flavour
        ]

    def _sum(self, chosen, activation, **more):
        options = [("from", ",".join(str(self.ref(i)) for i in chosen)), ("activation", activation)]
        self.add("shortcut", self.now, options + sorted(more.items()))

    def several(self):
        self.shortcut(several=True)

    def weighted(self):
        kind, norm = self.pick(["per_feature", "per_channel", "per_layer"]), self.pick(["relu", "softmax"])
        self.shortcut(several=self.chance(50), weights_type=kind, weights_normalization=norm)

    def residual(self):
        """A block that can be removed, as real nets have them."""
        if not self.sections or self.shapes[-1] != self.now:
            self.conv()
        trunk, c = self.count - 1, self.now[2]
        inside = [k for k in ("dropout", "depthwise_inside", "se", "grouped_inside") if k in self.kinds + EXTRA]
        self.conv(filters=self.filters(), size=self.pick([1, 3]), keep=True)
        for _ in range(self.pick([0, 0, 1, 2])):
            getattr(self, self.pick(["conv_inside"] + inside))()
        self.conv(filters=c, size=self.pick([3, 1]), keep=True)
        if "dropout" in self.kinds and self.chance(50):
            self.dropout()
        end = self.count - 1
        if self.chance(15):  # the sum written the other way round
            self.add("route", self.shapes[trunk], [("layers", self.ref(trunk))])
            return self._sum([end], "linear")
        self._sum([trunk], self.pick(["linear", "linear", "linear", "leaky"]))

    def conv_inside(self):
        self.conv(filters=self.filters(), keep=True)

    def depthwise_inside(self):
        if self.now[2] > 1:
            self.conv(filters=self.now[2], size=3, keep=True, groups=self.now[2])

    def grouped_inside(self):
        if self.now[2] % 2 == 0:
            self.conv(filters=self.filters(2), keep=True, groups=2)

    def route(self, grouped=False):
        sources = self.same_size()
        if not sources:
            return self.conv()
        if self.chance(25):
            return self.back()
        chosen = [self.pick(sources[::-1]) for _ in range(self.pick([1] if grouped else [2, 1, 3, 4]))]
        if grouped and self.flavour == "fork" and self.chance(40):
            chosen.append(self.pick(sources[::-1]))
        if self.chance(10):
            chosen.append(chosen[0])
        groups = self.pick([g for g in (2, 3, 4) if all(self.shapes[i][2] % g == 0 for i in chosen)] or [1])
        groups = groups if grouped else 1
        c = sum(self.shapes[i][2] for i in chosen) // groups
        if c > 64:
            return self.conv()
        options = [("layers", ",".join(str(self.ref(i)) for i in chosen))]
        if groups > 1:
            options += [("groups", groups), ("group_id", self.source.integer(0, groups - 1))]
        self.add("route", self.now[:2] + (c,), options)

    def grouped_route(self):
        self.route(grouped=True)
        if self.chance(50) and self.now[2] < 20:  # as the CSP blocks of YOLOv4-tiny join what they took apart
            self.conv(keep=True)
            self.route()

    def flat_route(self):
        """Maps of different sizes one behind the other, as plain values."""
        small = self.earlier(lambda s: s[0] * s[1] * s[2] <= 600)
        sizes = {self.shapes[i][:2] for i in small}
        if len(sizes) < 2:
            return self.maxpool()
        chosen = [self.pick(small[::-1]) for _ in range(self.pick([1, 2]))]
        chosen.append(self.pick([i for i in small if self.shapes[i][:2] != self.shapes[chosen[0]][:2]]))
        counts = [self.shapes[i] for i in chosen]
        groups = self.pick([g for g in (1, 2, 3) if all(c % g == 0 for _, _, c in counts)])
        groups = groups if self.flavour == "fork" else 1
        options = [("layers", ",".join(str(self.ref(i)) for i in chosen))]
        if groups > 1:
            options += [("groups", groups), ("group_id", self.source.integer(0, groups - 1))]
        self.add("route", (0, 0, sum(w * h * c for w, h, c in counts) // groups), options)
        self.connected() if self.chance(70) else self.softmax()

    # ---- products

    def se(self):
        """Squeeze and excitation: what is averaged is gated by what two small convolutions make of it."""
        if not self.sections or self.shapes[-1] != self.now or self.now[2] < 2:
            self.conv()
        carried, shape = self.count - 1, self.now
        self.avgpool()
        few, first = self.pick([4, 2, 6]), self.pick(["relu", "swish"])
        if self.chance(20):
            options = [("output", shape[2]), ("activation", "logistic")]
            self.add("connected", (1, 1, shape[2]), options)
        else:
            self.conv(filters=few, size=1, keep=True, activation=first, bn=self.bn())
            self.conv(filters=shape[2], size=1, keep=True, activation="logistic", bn=self.bn())
        self.gate("scale_channels", carried, shape)

    def bn(self):
        return self.pick([0, 0, 1])

    def gate(self, kind, carried, shape, **more):
        activation = self.pick(["linear", None, "linear"] + (["leaky"] if self.flavour == "fork" else []))
        options = [("from", self.ref(carried)), ("activation", activation)] + sorted(more.items())
        self.add(kind, shape, options)

    def sam(self):
        if not self.sections or self.shapes[-1] != self.now:
            self.conv()
        carried, shape = self.count - 1, self.now
        self.conv(filters=shape[2], size=self.pick([1, 3]), keep=True, activation=self.pick(["logistic", "linear"]))
        self.gate("sam", carried, shape)

    def attention(self):
        """A map of one channel that gates every position."""
        if not self.sections or self.shapes[-1] != self.now:
            self.conv()
        carried, shape = self.count - 1, self.now
        self.conv(filters=1, size=self.pick([1, 3]), keep=True, activation="logistic", groups=1)
        self.gate("scale_channels", carried, shape, scale_wh=1)

    def implicit(self):
        """Learnt factors of the channels."""
        if not self.sections or self.shapes[-1] != self.now:
            self.conv()
        carried, shape = self.count - 1, self.now
        self.add("implicit", (1, 1, shape[2]), [("filters", shape[2])])
        self.gate("scale_channels", carried, shape)

    def memory(self):
        """Learnt values that go their own way until a route brings the net back."""
        atoms, n = self.pick([1, 3, 2]), self.pick([4, 6, 8])
        self.add("implicit", (1, atoms, n), [("filters", n), ("atoms", atoms), ("mean", "0.")])
        if self.chance(40):
            self.conv(keep=True)
        pools = self.same_size()
        if len(pools) > 1 and self.chance(50):
            chosen = [self.pick(pools), self.count - 1]
            shape = self.now[:2] + (sum(self.shapes[i][2] for i in chosen),)
            self.add("route", shape, [("layers", ",".join(str(self.ref(i)) for i in chosen))])
        self.connected() if self.chance(30) else self.conv(size=1)
        self.back()
